# SPDX-License-Identifier: Apache-2.0
"""The error for a picture that cannot be drawn. tests/netns/test_explain.py tests the picture."""

from pathlib import Path

import pytest

from ec2net.core.cli import picture
from ec2net.core.model.errors import Ec2netError
from ec2net.core.runtime.deadline import Deadline

INSTEAD = "or use --dot and another program to draw the graph"


@pytest.mark.parametrize(
    ("program", "told"),
    [
        pytest.param(
            None,
            "dot, which draws the picture, is not installed (install the package "
            f"graphviz, {INSTEAD})",
        ),
        pytest.param("no program", f"dot cannot be run: Exec format error ({INSTEAD})"),
        pytest.param("#!/bin/sh\nexit 3\n", f"dot failed: exit status 3 ({INSTEAD})"),
        pytest.param(
            "#!/bin/sh\necho 'Error: line 1' >&2; exit 1\n",
            f"dot failed: Error: line 1 ({INSTEAD})",
        ),
        pytest.param(
            "#!/bin/sh\nexec /bin/sleep 600\n",
            f"dot did not end within 0 s (draw one ENI, {INSTEAD})",
        ),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_one_clear_error(
    program: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program is not None:
        (tmp_path / "dot").write_text(program)
        (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(picture, "SECONDS", 0.2 if "sleep" in (program or "") else 60.0)
    with pytest.raises(Ec2netError) as caught:
        picture.svg("digraph ec2net {}", Deadline(60))
    assert str(caught.value) == told
