# SPDX-License-Identifier: Apache-2.0
"""``ec2net demo`` shows the truth: it runs to its end, and each of its checks can fail."""

import argparse
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from instance import HANGS

from ec2net.core.cli.commands import demo
from ec2net.core.model.errors import Ec2netError, ExitStatus
from ec2net.core.simulation.demo import checks
from ec2net.core.simulation.demo.screen import Screen
from ec2net.core.simulation.demo.script import STEPS
from ec2net.core.simulation.demo.show import show
from ec2net.core.simulation.demo.stage import LIMIT as DEMO_LIMIT
from ec2net.core.simulation.demo.stage import Result, Stage
from ec2net.core.simulation.demo.steps import Check, Command, Event, Step, Verdict

pytestmark = pytest.mark.netns

AS_A_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""Without any capability (user_namespaces(7)): the sandbox creates a user namespace."""


def run_demo(*prefix: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, "-m", "ec2net", "demo"],
        capture_output=True,
        text=True,
        timeout=HANGS + DEMO_LIMIT,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as built:
        yield built


@pytest.mark.parametrize("prefix", [(), AS_A_USER], ids=["root", "user"])
def test_the_demo_runs_in_plain_text(prefix: tuple[str, ...]) -> None:
    # A proxy or an IMDS elsewhere in the environment must not matter.
    done = run_demo(
        *prefix,
        http_proxy="http://192.0.2.1:3128",
        AWS_EC2_METADATA_SERVICE_ENDPOINT="http://192.0.2.1",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert done.stderr == ""
    assert "✘" not in done.stdout
    assert "\x1b" not in done.stdout
    for step in STEPS:
        assert step.title in done.stdout
    said = re.search(r"(\d+) of (\d+) checks passed in ([\d.]+) s", done.stdout)
    assert said is not None
    assert said[1] == said[2]
    assert 0 < float(said[3]) < DEMO_LIMIT  # the program's own limit; its output has the duration


def test_the_demo_prints_one_line_where_namespaces_are_forbidden() -> None:
    forbid = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all"
    words = ("unshare", "--user", "--map-root-user", "sh", "-c", f'{forbid} "$@"', "sh")
    done = run_demo(*words)
    assert done.returncode == ExitStatus.FAILED
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "user.max_user_namespaces is 0 here" in done.stderr


def test_a_missing_tool_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TOOLS", {"ip": "iproute2", "no-such-nft": "nftables"})
    with pytest.raises(
        Ec2netError, match=r"without no-such-nft, not found.*apt-get install nftables\)"
    ):
        demo.run(argparse.Namespace(keep_going=False))


def test_failed_checks_are_counted_and_fail_the_demo(stage: Stage) -> None:
    steps = (
        Step("one", (Command("ip rule del priority 4711"), Check("so", lambda _: Verdict(True)))),
        Step("two", (Check("never shown", lambda _: Verdict(True)),)),
    )
    text = io.StringIO()
    assert show(steps, stage, Screen(text), keep_going=False) is ExitStatus.FAILED
    assert "✘ exit status 0: it is 2" in text.getvalue()
    assert "1 of 2 checks passed" in text.getvalue()
    assert "never shown" not in text.getvalue()
    text = io.StringIO()
    assert show(steps, stage, Screen(text), keep_going=True) is ExitStatus.FAILED
    assert "never shown" in text.getvalue()
    assert "2 of 3 checks passed" in text.getvalue()


def test_a_refresh_without_effect_fails_the_checks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Stage.run

    def run(self: Stage, line: str) -> Result:
        return Result(0, "") if line == "ec2net refresh" else real(self, line)

    monkeypatch.setattr(Stage, "run", run)
    text = io.StringIO()
    assert show(STEPS[:3], stage, Screen(text), keep_going=True) is ExitStatus.FAILED
    crosses = {line.strip() for line in text.getvalue().splitlines() if line.startswith("  ✘")}
    for claim in (
        "exit status 0: it is 1",  # status: no pass has ended
        "every address connects",
        "a container behind docker0",
        "a host in ens6's own subnet",
        "the VPC's source check dropped nothing",
    ):
        assert any(line.startswith(f"✘ {claim}") for line in crosses), claim
    # The output has the reason for each address.
    assert re.search(r"✘ ens6 2001:db8:0:2::4: .*the source check dropped", text.getvalue())


Breaker = Callable[[Stage], object]


def _typed(line: str) -> Breaker:
    def run(stage: Stage) -> None:
        assert stage.run(line).status == 0

    return run


def _send_from_the_second(stage: Stage) -> None:
    checks.dropped_on_the_way(lambda stage: stage.second.samples())(stage)
    stage.dropped = 0


@pytest.mark.parametrize(
    ("prepare", "judge", "breaker"),
    [
        (checks.keep("x"), checks.same_as("x"), _typed("ip addr add 198.18.0.2 dev ens5")),
        (checks.keep("x"), checks.same_as("x"), _typed("ip link set ens5 mtu 1400")),
        (checks.keep("x"), checks.same_as("x"), _typed("ip route del default")),
        (
            _typed("ip rule add priority 5000 from 203.0.113.0/24 lookup 77"),
            lambda stage: _kept_foreign(stage),
            _typed("ip rule del priority 5000"),
        ),
        (lambda stage: None, checks.nothing_dropped, _send_from_the_second),
        (
            _typed("ip route add 203.0.113.0/24 dev ens5 table 4711"),
            checks.mentions(lambda _: "4711", there=True),
            _typed("ip route flush table 4711"),
        ),
        (
            lambda stage: None,
            checks.mentions(lambda _: "4711", there=False),
            _typed("ip route add 203.0.113.0/24 dev ens5 table 4711"),
        ),
        (
            _typed("ec2net refresh"),
            checks.container_through_docker0,
            _typed("ip rule add priority 100 from 10.0.2.4/30 lookup 10001"),
        ),
        (
            _typed("ec2net refresh"),
            checks.neighbour_through_own_eni,
            _typed("ip rule add priority 100 lookup main"),
        ),
        (
            _typed("ec2net refresh"),
            checks.plan_is_empty,
            _typed("ip rule del priority 10001 from 10.0.2.4/30"),
        ),
        (
            _typed("ec2net refresh"),
            checks.connections(lambda stage: [stage.second]),
            _typed("ip -6 rule del priority 10001 from 2001:db8:0:2::4/127"),
        ),
    ],
)
def test_each_check_succeeds_before_and_fails_after(
    stage: Stage, prepare: Breaker, judge: checks.Judge, breaker: Breaker
) -> None:
    prepare(stage)
    assert judge(stage).ok, judge(stage)
    breaker(stage)
    assert not judge(stage).ok


def _kept_foreign(stage: Stage) -> Verdict:
    if "foreign" not in stage.kept:
        checks.keep_foreign(stage)
    return checks.foreign_untouched(stage)


def test_reachability_of_the_hotplugged_eni_needs_its_configuration(stage: Stage) -> None:
    assert stage.run("ec2net refresh").status == 0
    stage.hotplug()
    assert not checks.reachable_in(stage).ok
    assert stage.run("ec2net start ens7").status == 0
    assert checks.reachable_in(stage).ok


def test_the_demo_reports_dropped_packets_only_where_they_are_dropped(stage: Stage) -> None:
    judge = checks.dropped_on_the_way(lambda stage: stage.second.samples())
    assert judge(stage).ok
    assert stage.run("ec2net refresh").status == 0
    assert not judge(stage).ok


def test_an_event_is_shown_with_its_values(stage: Stage) -> None:
    text = io.StringIO()
    step = Step("x", (Event("EC2 assigns {stage.assigned}.", Stage.assign),))
    assert show((step,), stage, Screen(text), keep_going=False) is ExitStatus.DONE
    assert f"# EC2 assigns {stage.second.ipv4s[-1]}." in text.getvalue()


def test_a_terminal_gets_colour_and_no_unicode_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    Screen(terminal).verdict(True, "so", "")
    assert terminal.getvalue() == "  \x1b[32m✔\x1b[0m so\n"
    raw = io.BytesIO()
    ascii_only = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    screen = Screen(ascii_only)
    screen.verdict(False, "so", "it is not")
    screen.detail("10.0.2.4 ✔✘")
    assert raw.getvalue() == b"  FAILED so: it is not\n      10.0.2.4 okFAILED\n"
