# SPDX-License-Identifier: Apache-2.0
"""The examples: scripts pass a linter, data can be parsed, and all name only what ec2net has."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import TOP
from json_schema import wrong_in
from manual import commands

from ec2net.core.cli.main import parser
from ec2net.core.config.files import load
from ec2net.core.report.metrics import KINDS, METRICS

EXAMPLES = TOP / "examples"
SCRIPTS = sorted(EXAMPLES.rglob("*.sh"))
YAML = sorted((*EXAMPLES.rglob("*.yml"), *EXAMPLES.rglob("*.yaml")))
FILES = sorted(path for path in EXAMPLES.rglob("*") if path.is_file())
RULES = EXAMPLES / "prometheus/ec2net.rules.yml"
DASHBOARD = EXAMPLES / "prometheus/ec2net-dashboard.json"


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(EXAMPLES)) for path in paths]


def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(
        ["shellcheck", *SCRIPTS], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_shellcheck_finds_nothing_in_the_commands_of_the_image_builder(tmp_path: Path) -> None:
    component = yaml.safe_load((EXAMPLES / "image-builder/component.yml").read_text())
    steps = [step for phase in component["phases"] for step in phase["steps"]]
    scripts = [
        one
        for step in steps
        if step["action"] == "ExecuteBash"
        for one in step["inputs"]["commands"]
    ]
    assert len(scripts) == 2
    for text in scripts:
        done = subprocess.run(
            ["shellcheck", "--shell=bash", "-"],
            input=text, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", YAML, ids=names(YAML))
def test_yaml_can_be_parsed(path: Path) -> None:
    assert yaml.safe_load(path.read_text())


def expressions() -> Iterator[str]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def samples() -> set[str]:
    """The names of all samples, as the file of metrics has them."""
    found = set(METRICS)
    for name, (kind, _) in METRICS.items():
        found |= {f"{name}_sum", f"{name}_count"} if kind == "summary" else set()
    return found


def test_rules_and_dashboard_ask_for_metrics_that_exist() -> None:
    asked = {name for text in expressions() for name in re.findall(r"\bec2net_\w+", text)}
    assert asked <= samples()
    plain = {re.sub("_(sum|count)$", "", name) for name in asked}
    assert plain >= set(METRICS)  # no metric is without a use
    kinds = {kind for text in expressions() for kind in re.findall(r'kind="([^"]+)"', text)}
    assert kinds <= set(KINDS)


def test_each_alert_says_what_is_wrong_and_what_to_run() -> None:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    alerts = [rule for rule in group["rules"] if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 8
    for rule in alerts:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_the_dashboard_has_no_two_panels_in_one_place() -> None:
    taken: set[tuple[int, int]] = set()
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_commands_of_ec2net_are_understood(path: Path) -> None:
    text = path.read_text().replace('--from "$tool"', "--from=nm-cloud-setup")
    for line in re.findall(r"(?:^|[\s'])ec2net ([a-z-]+(?: --?[a-z=-]+)*)", text):
        words = shlex.split(line)
        if words[0] in commands():
            parser().parse_args(words)


def test_the_configuration_of_a_roll_out_has_no_errors(tmp_path: Path) -> None:
    folder = tmp_path / "etc/ec2net/ec2net.toml.d"
    folder.mkdir(parents=True)
    (folder / "50.toml").write_text((EXAMPLES / "fleet/observe.toml").read_text())
    role = (EXAMPLES / "ansible/roles/ec2net/templates/ec2net.toml.j2").read_text()
    defaults = yaml.safe_load((EXAMPLES / "ansible/roles/ec2net/defaults/main.yml").read_text())
    filled = re.sub(r"\{\{ (\w+) \}\}", lambda found: defaults[found[1]], role)
    (folder / "60.toml").write_text(filled)
    assert load(tmp_path).errors == ()


def change(action: str, text: str) -> dict[str, str]:
    return {"action": action, "text": text}


def compared(tmp_path: Path, **plans: dict[str, Any] | str) -> subprocess.CompletedProcess[str]:
    """The comparison of these hosts' files; a plan without a list has an empty one."""
    paths = []
    for name, plan in plans.items():
        paths.append(tmp_path / f"{name}.json")
        whole: dict[str, Any] = {"changes": [], "conflicts": [], "problems": [], "enis": []}
        text = plan if isinstance(plan, str) else json.dumps(whole | plan)
        paths[-1].write_text(text)
    program: list[str | Path] = [sys.executable, EXAMPLES / "fleet/compare_plans.py", *paths]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)


def test_hosts_with_the_same_kinds_of_changes_are_one_group(tmp_path: Path) -> None:
    """The numbers of their tables, their addresses and the number of their addresses differ."""
    rule = "rule {}: from 10.0.{}.4/31 lookup {}"
    done = compared(
        tmp_path,
        a={"changes": [change("add", rule.format(10001, 2, 10001))]},
        b={"changes": [change("add", rule.format(n, n - 9999, n)) for n in (10002, 10003)]},
        c={"changes": [change("add", "address 10.0.2.4/24 dev ens6")]},
        d={},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "2 host(s): a, b\n  1 to 2 x add rule N: from N lookup N\n"
        "1 host(s): c\n  1 x add address N dev\n"
        "1 host(s): d\n  nothing to change\n"
    )


def test_hosts_with_equal_conflicts_and_problems_are_one_group(tmp_path: Path) -> None:
    """Their texts name the link, the ENI and the addresses of each host."""

    def host(link: str, eni: str, number: int) -> dict[str, Any]:
        text = f"rule 1000{number}: from 10.0.{number}.4 lookup 1000{number}: a foreign object"
        problem = f"{link}: {eni} (06:53:e1:d8:f9:2{number}) is pending since 2026-11-29"
        enis = [{"link": link}, {"link": None}]
        return {"conflicts": [{"text": text}], "problems": [problem], "enis": enis}

    done = compared(
        tmp_path, a=host("ens6", "eni-0304feb62015b7959", 1), b=host("eth-1", "eni-0a", 2)
    )
    assert done.returncode == 1
    assert done.stdout == (
        "2 host(s): a, b\n"
        "  1 x CONFLICT: rule N: from N lookup N: a foreign object\n"
        "  1 x PROBLEM: LINK: N (N) is pending since N-N-N\n"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", '{"changes": 1}', "{}"])
def test_a_file_that_is_no_plan_is_named_and_ends_no_comparison(tmp_path: Path, text: str) -> None:
    done = compared(tmp_path, broken=text, good={})
    assert (done.returncode, done.stderr) == (1, "")
    assert "1 host(s): broken\n  1 x NO PLAN: " in done.stdout
    assert "1 host(s): good\n  nothing to change\n" in done.stdout


def test_the_comparison_reads_keys_that_each_plan_has() -> None:
    keys = ("changes", "conflicts", "problems", "enis")
    plan: dict[str, Any] = {"version": 1, "pause": None, "held": {}, "warnings": []}
    plan |= {key: [] for key in keys}
    assert wrong_in(plan, "plan") == []
    for key in keys:
        assert wrong_in({k: v for k, v in plan.items() if k != key}, "plan") != []
        assert f'plan["{key}"]' in (EXAMPLES / "fleet/compare_plans.py").read_text()


def earlier(folder: Path, *, pauses: bool, accepts: bool) -> Path:
    """A deb with a program of an earlier version: does it know pauses, and accept the configuration?"""
    modules = folder / "root/usr/lib/python3/dist-packages/ec2net"
    (modules / "core/state").mkdir(parents=True)
    (modules / "__init__.py").touch()
    (modules / "__main__.py").write_text(f"import sys\nsys.exit({0 if accepts else 2})\n")
    if pauses:
        (modules / "core/state/pause.py").touch()
    control = folder / "root/DEBIAN/control"
    control.parent.mkdir()
    control.write_text(
        "Package: ec2net\nVersion: 0\nArchitecture: all\nMaintainer: x <x@example.com>\nDescription: x\n"
    )
    deb = folder / "ec2net_0_all.deb"
    command: list[str | Path] = ["dpkg-deb", "--root-owner-group", "--build", folder / "root", deb]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return deb


def downgraded(folder: Path, deb: Path, *arguments: str) -> tuple[int, str, str]:
    """The script with commands that only say that they ran: its status, its errors, the commands."""
    commands = folder / "bin"
    commands.mkdir()
    for name in ("ec2net", "apt-get"):
        (commands / name).write_text(f'#!/bin/sh\necho "{name} $1" >> {folder}/said\n')
        (commands / name).chmod(0o755)
    text = (EXAMPLES / "downgrade/downgrade.sh").read_text()
    script = folder / "downgrade.sh"
    script.write_text(text.replace("/var/lib/ec2net/", f"{folder}/"))
    done = subprocess.run(
        ["bash", script, deb, *arguments],
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = folder / "said"
    return done.returncode, done.stderr, said.read_text() if said.exists() else ""


INSTALLED = "ec2net status\napt-get install\nec2net --version\nec2net refresh\nec2net verify\n"


@pytest.mark.parametrize("pauses", [True, False])
def test_a_downgrade_keeps_a_pause_or_does_not_begin(tmp_path: Path, pauses: bool) -> None:
    deb, pause = earlier(tmp_path, pauses=pauses, accepts=True), tmp_path / "paused.json"
    pause.touch()
    status, errors, said = downgraded(tmp_path, deb)
    assert pause.exists()
    assert (status, said) == ((0, INSTALLED) if pauses else (1, ""))
    assert pauses or "knows no pauses: nothing was changed" in errors


def test_a_downgrade_ends_a_pause_only_if_the_administrator_says_so(tmp_path: Path) -> None:
    deb, pause = earlier(tmp_path, pauses=False, accepts=True), tmp_path / "paused.json"
    pause.touch()
    assert downgraded(tmp_path, deb, "end-pause")[::2] == (0, INSTALLED)
    assert not pause.exists()


def test_a_version_that_refuses_the_configuration_is_not_installed(tmp_path: Path) -> None:
    status, errors, said = downgraded(tmp_path, earlier(tmp_path, pauses=True, accepts=False))
    assert (status, said) == (1, "")
    assert "does not accept the configuration: nothing was changed" in errors
