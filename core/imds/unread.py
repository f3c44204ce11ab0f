# SPDX-License-Identifier: Apache-2.0
"""Facts that IMDS should have reported and did not, as one problem for people. Pure."""

from collections.abc import Iterator

from ec2net.core.model.errors import ImdsError
from ec2net.core.model.facts import EniFacts, ImdsFacts, Reading, Unknown, Value, keys_of

_SHOWN = 3
"""The number of reasons, and of keys of each, that the message names."""


def unread(imds: ImdsFacts) -> tuple[ImdsError, ...]:
    """One problem for all failed readings of this pass, also those with a last known value.

    Keys that IMDS does not have yet are no fault: such an ENI is pending, with its own reason.
    """
    where: dict[str, list[str]] = {}
    for name, reading in _named(imds):
        if isinstance(reading, Unknown) and not reading.settling:
            where.setdefault(reading.reason, []).append(name)
    if not where:
        return ()
    reasons = [f"{several(names, _SHOWN)}: {reason}" for reason, names in sorted(where.items())]
    return (
        ImdsError(
            f"IMDS could not be read completely: {'; '.join(reasons[:_SHOWN])}",
            remedy="ec2net keeps the last known values",
        ),
    )


def _named(imds: ImdsFacts) -> Iterator[tuple[str, Reading[object]]]:
    yield "mac", imds.primary
    yield "the list of MACs", imds.listed
    for eni in imds.enis:
        for key, reading in keys_of(eni).items():
            yield f"{_name(eni)} {key}", reading


def _name(eni: EniFacts) -> str:
    return str(eni.interface_id.value if isinstance(eni.interface_id, Value) else eni.mac)


def several(names: list[str], most: int) -> str:
    """The first ``most`` of them, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
