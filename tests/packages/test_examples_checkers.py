# SPDX-License-Identifier: Apache-2.0
"""The checkers of other projects accept the examples and the acceptance template.

``packaging/setup.sh --checkers`` installs them. Nothing here runs against AWS.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import TOP

from ec2net.core.config.files import load
from ec2net.core.model.errors import ImdsError
from ec2net.core.report.metrics import count_failure
from ec2net.core.state.config_in_force import Workplace
from ec2net.core.state.run_dir import RunDir

pytestmark = pytest.mark.exhaustive

EXAMPLES = TOP / "examples"
RULES = EXAMPLES / "prometheus/ec2net.rules.yml"

FIRING = {
    "Ec2netNoSuccessfulPass": ("ec2net_last_success_timestamp_seconds", "0x2000", "1020", {}),
    "Ec2netMetricsStale": ("ec2net_last_pass_timestamp_seconds", "0x2000", "1320", {}),
    "Ec2netMetricsAbsent": ("ec2net_build_info", "1x10 _x1990", "1", {}),
    "Ec2netEniRefused": ("ec2net_enis", "2x2000", "2", {"standing": "refused"}),
    "Ec2netEniPending": ("ec2net_enis", "1x2000", "1", {"standing": "pending"}),
    "Ec2netAddressesMissing": ("ec2net_addresses_missing", "3x2000", "3", {}),
    "Ec2netChangesPending": ("ec2net_pending_changes", "4x2000", "4", {}),
    "Ec2netDrift": ("ec2net_drift", "1x2000", "1", {}),
    "Ec2netFindingsOpen": ("ec2net_open_findings", "1x2000", "1", {}),
    "Ec2netConfigurationBroken": ("ec2net_config_errors", "2x2000", "2", {}),
    "Ec2netRolledBack": ("ec2net_errors_total", "0x30 1x2000", "1", {"kind": "rolled-back"}),
    "Ec2netPausedLong": ("ec2net_paused", "1x2000", "1", {}),
}
"""For each alert a series of samples, one for each minute, that makes the alert fire."""

UNLESS_PAUSED = {"Ec2netAddressesMissing", "Ec2netChangesPending", "Ec2netDrift"}
DAY = 1500
"""Minutes until each alert fires, also the one that waits for a day."""


@pytest.fixture(scope="module")
def bin() -> Path:
    """The folder of the checkers' commands."""
    folder = TOP / ".venv-checkers"
    setup: list[str | Path] = [TOP / "packaging/setup.sh", "--checkers", folder]
    subprocess.run(setup, check=True, timeout=600)
    return folder / "bin"


def said(*command: str | Path, cwd: Path, bin: Path, input: str = "") -> str:
    """All output of a checker, which must end with 0 and call no other host."""
    done = subprocess.run(
        command,
        cwd=cwd,
        input=input,
        env={
            **os.environ,
            "PATH": f"{bin}:{os.environ['PATH']}",
            "HOME": str(cwd),
            "CHECKPOINT_DISABLE": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    print(done.stdout)
    return done.stdout


def test_ansible_lint_and_ansible_accept_the_role(bin: Path, tmp_path: Path) -> None:
    tree = shutil.copytree(EXAMPLES / "ansible", tmp_path / "ansible")
    text = said("ansible-lint", "--offline", "--strict", "--nocolor", cwd=tree, bin=bin)
    assert "Passed: 0 failure(s), 0 warning(s) in 6 files" in text
    text = said("ansible-playbook", "--syntax-check", "site.yml", cwd=tree, bin=bin)
    assert "playbook: site.yml" in text


def test_cfn_lint_accepts_the_template_for_acceptance(bin: Path, tmp_path: Path) -> None:
    assert said("cfn-lint", TOP / "acceptance/template.yml", cwd=tmp_path, bin=bin) == ""


def test_packer_accepts_the_template_for_an_image(bin: Path, tmp_path: Path) -> None:
    """By Debian's packer, which has the builder for EC2."""
    tree = shutil.copytree(EXAMPLES, tmp_path / "examples")
    (tmp_path / "ec2net.deb").touch()
    template = tree / "packer/ec2net.pkr.hcl"
    package = ("-var", "package=ec2net.deb")
    assert said("packer", "validate", *package, template, cwd=tmp_path, bin=bin) == ""
    assert said("packer", "fmt", "-check", "-diff", template, cwd=tmp_path, bin=bin) == ""
    read = "import sys, hcl2; print(sorted(hcl2.load(open(sys.argv[1]))))"
    text = said(bin / "python", "-c", read, template, cwd=tmp_path, bin=bin)
    assert "'build'" in text


def test_promtool_accepts_the_alerts(bin: Path, tmp_path: Path) -> None:
    assert "SUCCESS: 13 rules found" in said(
        "promtool", "check", "rules", RULES, cwd=tmp_path, bin=bin
    )


def test_promtool_accepts_the_file_of_metrics(bin: Path, tmp_path: Path) -> None:
    """Its linter knows the conventions for names, types and help texts."""
    etc = tmp_path / "etc/ec2net"
    etc.mkdir(parents=True)
    file = tmp_path / "ec2net.prom"
    (etc / "ec2net.toml").write_text(f'metrics_file = "{file}"\n')
    count_failure(Workplace(RunDir(tmp_path / "run"), load(tmp_path)), ImdsError("x"))
    command = ("promtool", "check", "metrics")
    assert said(*command, cwd=tmp_path, bin=bin, input=file.read_text()) == ""


def alerts() -> dict[str, dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"] if "alert" in rule}


def fires(rule: dict[str, Any], *, paused: bool) -> dict[str, Any]:
    """A test for promtool: the alert with its texts, or nothing during a pause."""
    name = rule["alert"]
    metric, values, value, labels = FIRING[name]
    own = {"instance": "web", **labels}
    series = f"{metric}{{{', '.join(f'{key}={told!r}' for key, told in own.items())}}}"
    inputs = [{"series": series.replace("'", '"'), "values": values}]
    inputs.append({"series": 'node_exporter_build_info{instance="web"}', "values": "1x2000"})
    if metric != "ec2net_paused":
        inputs.append({"series": 'ec2net_paused{instance="web"}', "values": f"{paused:d}x2000"})

    def filled(text: str) -> str:
        return text.replace("{{ $labels.instance }}", "web").replace("{{ $value }}", value)

    minutes = 40 if "time()" not in rule["expr"] else int(value) // 60
    alert = {
        "exp_labels": {**own, **rule["labels"]},
        "exp_annotations": {key: filled(text) for key, text in rule["annotations"].items()},
    }
    expected = [] if paused and name in UNLESS_PAUSED else [alert]
    at = DAY if name == "Ec2netPausedLong" else minutes
    test = {"eval_time": f"{at}m", "alertname": name, "exp_alerts": expected}
    return {"interval": "1m", "input_series": inputs, "alert_rule_test": [test]}


def test_each_alert_fires_and_is_silent_during_a_pause_where_it_says_so(
    bin: Path, tmp_path: Path
) -> None:
    assert alerts().keys() == FIRING.keys()
    tests = [fires(rule, paused=paused) for rule in alerts().values() for paused in (False, True)]
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    assert "SUCCESS" in said("promtool", "test", "rules", path, cwd=tmp_path, bin=bin)
