# SPDX-License-Identifier: Apache-2.0
"""The examples: scripts pass a linter, data can be parsed, and all name only what ec2net has."""

import json
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
    for line in re.findall(r"(?:^|[\s'])ec2net ([a-z-]+(?: --?[a-z-]+)*)", path.read_text()):
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


def test_hosts_with_the_same_kinds_of_changes_are_one_group(tmp_path: Path) -> None:
    def host(name: str, *changes: dict[str, str], problems: tuple[str, ...] = ()) -> str:
        path = tmp_path / f"{name}.json"
        plan = {"changes": list(changes), "conflicts": [], "problems": list(problems)}
        path.write_text(json.dumps(plan))
        return str(path)

    hosts = [
        host("a", change("add", "rule 10001: from 10.0.2.4/31 lookup 10001")),
        host("b", change("add", "rule 10002: from 10.0.9.18/31 lookup 10002")),
        host("c", change("add", "address 10.0.2.4/24 dev ens6")),
        host("d"),
    ]
    program = [sys.executable, str(EXAMPLES / "fleet/compare_plans.py")]
    done = subprocess.run(
        [*program, *hosts], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "2 host(s): a, b\n  1 x add rule N: from N lookup N\n"
        "1 host(s): c\n  1 x add address N dev ens6\n"
        "1 host(s): d\n  nothing to change\n"
    ).replace("dev ens6", "dev")
    bad = host("e", problems=("IMDS: no answer",))
    done = subprocess.run(
        [*program, *hosts, bad], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "PROBLEM: IMDS: no answer" in done.stdout
