# SPDX-License-Identifier: Apache-2.0
"""The layout of tables for a terminal; a command fills its table (``core/cli/commands``)."""

from collections.abc import Iterable

WIDTH = 110
"""The widest that a table may be, in characters."""

_CELL_MIN = 8
"""A cell that is cut keeps so many characters."""


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, width: int = 0) -> str:
    """Left-aligned columns, as wide as their widest cell; no trailing blanks.

    With ``width``, longest cells are cut in the middle until the table fits.
    """
    cells = [head, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    while width and sum(widths) + 2 * (len(head) - 1) > width and max(widths) > _CELL_MIN:
        widths[widths.index(max(widths))] -= 1
    return "\n".join(
        "  ".join(
            _cut(cell, room).ljust(room) for cell, room in zip(row, widths, strict=True)
        ).rstrip()
        for row in cells
    )


def _cut(cell: str, room: int) -> str:
    """``cell`` if it fits, else its beginning and its end, which distinguish ids and names."""
    if len(cell) <= room:
        return cell
    end = (room - 2) // 2
    return f"{cell[: room - 2 - end]}..{cell[-end:]}"
