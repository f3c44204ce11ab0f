# SPDX-License-Identifier: Apache-2.0
"""The plugin door, with a real distribution that pip installs, and with broken ones."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checkout import TOP
from eni_facts import IPV4_ONLY, eni, host, mac

from ec2net.core.config.settings import Config, MtuPolicy
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.model.errors import PluginError
from ec2net.core.model.facts import Value
from ec2net.core.model.plan import Plan
from ec2net.core.plugins.loaded import BUILT_IN, Plugins, origins
from ec2net.core.plugins.report import PassReport

pytestmark = pytest.mark.library

EXAMPLE = TOP / "tests" / "plugin_example"
PACKAGES = Path(sys.modules["ec2net"].__path__[0]).parent

MACS = [f"06:ec:02:00:00:0{n}" for n in range(2)]
TREE = {
    "latest": {
        "meta-data": {
            "mac": MACS[0],
            "network": {
                "interfaces": {
                    "macs": {
                        mac: {
                            "interface-id": f"eni-0000000{n}",
                            "device-number": str(n),
                            "network-card": str(n),
                            "local-ipv4s": f"10.0.{n}.4",
                            "subnet-ipv4-cidr-block": f"10.0.{n}.0/24",
                        }
                        for n, mac in enumerate(MACS)
                    }
                }
            },
        }
    }
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where pip installed the example. Without network: the environment has the build
    back end."""
    source = tmp_path_factory.mktemp("source") / "example"
    shutil.copytree(EXAMPLE, source)
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, *offline, "--target", str(target), str(source)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target


class Program:
    """The real program in a separate process, with separate configuration and state."""

    def __init__(self, path: Path, *sites: Path) -> None:
        self.path = path
        self.sites = [PACKAGES, *sites]
        (path / "imds.json").write_text(json.dumps(TREE))

    def configure(self, text: str) -> None:
        file = self.path / "etc/ec2net/ec2net.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join(map(str, self.sites))
        return subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": paths},
        )

    def __call__(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run("-m", "ec2net", command, *self.places, *arguments)

    @property
    def places(self) -> list[str]:
        return ["--run-dir", str(self.path / "run"), "--config-root", str(self.path)]

    def plan(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self("plan", "--imds", str(self.path / "imds.json"), *arguments)

    def loaded_by_plan(self) -> dict[str, bool]:
        """Which modules a plan has imported at its end (pluggy 1.0 imports metadata itself)."""
        script = (
            "import sys, json, pluggy; before = set(sys.modules);"
            "from ec2net.core.cli.main import main; main(sys.argv[1:]);"
            "print(json.dumps({m: m in set(sys.modules) - before for m in"
            " ('ec2net_noop', 'importlib.metadata')}))"
        )
        arguments = ["plan", *self.places, "--imds", str(self.path / "imds.json")]
        done = self._run("-c", script, *arguments)
        assert done.returncode == 0, done.stderr
        result: dict[str, bool] = json.loads(done.stdout.splitlines()[-1])
        return result


@pytest.fixture
def program(tmp_path: Path, installed: Path) -> Program:
    return Program(tmp_path, installed)


def kinds(plan: subprocess.CompletedProcess[str]) -> set[str]:
    assert plan.returncode == 0, plan.stderr
    return {change["kind"] for change in json.loads(plan.stdout)["changes"]}


def test_a_plugin_that_the_configuration_does_not_name_is_not_loaded(program: Program) -> None:
    """ec2net does not read entry points either: that alone costs more than the rest of a start."""
    assert program.loaded_by_plan() == {"ec2net_noop": False, "importlib.metadata": False}
    assert "address" in kinds(program.plan("--json"))


def test_a_backend_is_loaded_when_the_configuration_names_it(program: Program) -> None:
    program.configure('backend = "noop"\n')
    assert program.loaded_by_plan()["ec2net_noop"]
    plan = program.plan("--json")
    assert kinds(plan) == {"rule"}  # the intent of the noop backend
    document = json.loads(plan.stdout)
    assert {change["eni"] for change in document["changes"]} == {MACS[1]}
    # Its other hooks count from the first pass on.
    assert [eni["intent"]["mtu"] for eni in document["enis"]] == ["dhcp", 1500]


def test_a_plugin_gets_requests_with_tls(program: Program) -> None:
    """Also one that a reload names: the daemon has imported requests without TLS then."""
    script = (
        "import ec2net.core.imds.transport, urllib3.connection as lean;"
        "from ec2net.core.plugins.loaded import Plugins; Plugins(['noop']);"
        "import urllib3.connection as whole; print(lean.ssl, whole.ssl is not None)"
    )
    done = program._run("-c", script)
    assert done.stdout.split() == ["None", "True"], done.stderr


def test_one_eni_can_have_another_backend_than_the_rest(program: Program) -> None:
    program.configure(
        f'backend = "netlink"\n[[eni]]\nmatch = {{ mac = "{MACS[1]}" }}\nbackend = "noop"\n'
    )
    document = json.loads(program.plan("--json").stdout)
    by_eni = {eni: {c["kind"] for c in document["changes"] if c["eni"] == eni} for eni in MACS}
    assert by_eni == {MACS[0]: {"linksetting"}, MACS[1]: {"rule"}}


def test_an_enabled_plugin_adjusts_intents_and_provides_its_backend(program: Program) -> None:
    program.configure('backend = "netlink"\n[plugins]\nenabled = ["noop"]\n')
    plan = program.plan("--json")
    assert "address" in kinds(plan)
    mtus = {eni["mac"]: eni["intent"]["mtu"] for eni in json.loads(plan.stdout)["enis"]}
    assert mtus == {MACS[0]: "dhcp", MACS[1]: 1500}


def test_backends_lists_built_in_and_installed_plugins(program: Program) -> None:
    program.configure('[links]\ndrivers = ["no-such-driver"]\n')
    listed = program("backends")
    assert listed.returncode == 0, listed.stderr
    rows = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    assert rows[0] == ["PLUGIN", "FROM"]
    assert dict(rows[1:]) == {**dict.fromkeys(BUILT_IN, "built in"), "noop": "ec2net-noop 1.2.3"}


GONE = (
    "plugin gone: there is no entry point of this name in the group 'ec2net' (install it, or "
    "correct the configuration; 'ec2net backends' lists the names)\n"
)


def test_a_missing_backend_affects_only_its_enis(program: Program) -> None:
    """For example after an upgrade of Python, which uses another folder."""
    program.configure(
        f'backend = "netlink"\n[[eni]]\nmatch = {{ mac = "{MACS[0]}" }}\nbackend = "gone"\n'
    )
    plan = program.plan()
    assert (plan.returncode, plan.stderr) == (1, "")
    without = (
        'eni0: no backend can manage this ENI; left unchanged: backend "gone" is configured '
        'but not available (choose one in the configuration: backend = "...")\n'
    )
    problems = [line for line in plan.stdout.splitlines(keepends=True) if line.startswith("!")]
    assert problems == [f"! {GONE}", f"! {without}"]
    document = json.loads(program.plan("--json").stdout)
    assert {change["eni"] for change in document["changes"]} == {MACS[1]}


def test_a_missing_plugin_for_intents_blocks_all_changes(
    program: Program,
) -> None:
    """The intent is not known without it."""
    program.configure('[plugins]\nenabled = ["gone"]\n')
    plan = program.plan()
    assert (plan.returncode, plan.stdout, plan.stderr) == (1, "", f"ec2net: {GONE}")


@pytest.mark.parametrize(
    ("config", "status"), [('backend = "gone"\n', 0), ('[plugins]\nenabled = ["gone"]\n', 1)]
)
def test_backends_lists_the_others_when_one_is_missing(
    program: Program, config: str, status: int
) -> None:
    program.configure(f'{config}[links]\ndrivers = ["no-such-driver"]\n')
    listed = program("backends")
    assert listed.returncode == status
    assert "noop            ec2net-noop 1.2.3\n" in listed.stdout
    assert GONE in listed.stdout + listed.stderr


def test_a_plugin_that_is_named_and_disabled_is_one_clear_error(program: Program) -> None:
    program.configure('backend = "noop"\n[plugins]\ndisabled = ["noop"]\n')
    plan = program.plan()
    assert plan.returncode == 1
    assert "! plugin noop: the configuration both names and disables it\n" in plan.stdout


def test_a_disabled_built_in_backend_leaves_its_enis_unmanaged(program: Program) -> None:
    program.configure('backend = "netlink"\n[plugins]\ndisabled = ["netlink"]\n')
    plan = program.plan()
    assert plan.returncode == 1
    assert 'backend "netlink" is configured but not available' in plan.stdout
    assert plan.stdout.endswith("Nothing to change.\n")


INTENT = compute(host(eni(0), eni(1, **IPV4_ONLY)), Config()).ready[1]
FACTS = host(eni(0), eni(1))
REPORT = PassReport(HostIntent(()), Plan(), {})


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Plugins]]:
    """Makes a distribution of the given source, and the door with it loaded, which must succeed."""
    made: list[str] = []

    def make(source: str) -> Plugins:
        name = f"ec2net_test_{len(made)}"
        made.append(name)
        imports = "from ec2net.core.plugins.api import hookimpl\n"
        (tmp_path / f"{name}.py").write_text(imports + source)
        metadata = tmp_path / f"{name}-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(f"[ec2net]\n{name} = {name}\n")
        monkeypatch.syspath_prepend(tmp_path)
        return Plugins([name])

    yield make
    for name in made:
        sys.modules.pop(name, None)


def test_a_misspelt_hook_is_an_error(plugin: Callable[[str], Plugins]) -> None:
    with pytest.raises(PluginError, match="ec2net_pass_finnished"):
        plugin("@hookimpl\ndef ec2net_pass_finnished(report): pass\n")


def test_a_plugin_for_another_version_of_the_interface_is_refused(
    plugin: Callable[[str], Plugins],
) -> None:
    plugin("EC2NET_API = 1\n")
    plugin("")  # a plugin that names no version is made for the first one
    with pytest.raises(PluginError) as caught:
        plugin("EC2NET_API = 2\n@hookimpl\ndef ec2net_adjust_intent(): raise OSError\n")
    assert str(caught.value) == (
        "plugin ec2net_test_2: is made for version 2 of the plugin interface, but this ec2net "
        "has version 1 (install a release of the plugin for version 1)"
    )


def test_an_unknown_argument_of_a_hook_is_an_error(
    plugin: Callable[[str], Plugins],
) -> None:
    with pytest.raises(PluginError, match="colour"):
        plugin("@hookimpl\ndef ec2net_adjust_intent(intent, colour): pass\n")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def broken(:\n", "SyntaxError"),
        ("import sys\nsys.exit('needs boto3')\n", "SystemExit: needs boto3"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_clear_error(
    plugin: Callable[[str], Plugins], source: str, problem: str
) -> None:
    with pytest.raises(PluginError, match=f"plugin ec2net_test_0: cannot be loaded: {problem}"):
        plugin(source)


def test_a_broken_plugin_provides_nothing_and_does_not_stop_others_from_loading(
    plugin: Callable[[str], Plugins],
) -> None:
    """On pluggy 1.0 one is registered before it is found to be wrong."""
    bring = (
        "from ec2net.backends.netlink.backend import NetlinkBackend\n"
        "class Mine(NetlinkBackend): name = {!r}\n"
        "@hookimpl\ndef ec2net_backends(): return (Mine,)\n"
    )
    with pytest.raises(PluginError, match="ec2net_backend'"):
        plugin(bring.format("a") + "@hookimpl\ndef ec2net_backend(): return ()\n")
    with pytest.raises(PluginError, match="colour"):
        plugin(bring.format("b") + "@hookimpl\ndef ec2net_pass_finished(colour): pass\n")
    plugin(bring.format("good"))
    plugins = Plugins(backends=[f"ec2net_test_{n}" for n in range(3)])
    assert list(plugins.backends()) == [*BUILT_IN, "good"]
    assert [problem.subject for problem in plugins.problems] == [
        "plugin ec2net_test_0",
        "plugin ec2net_test_1",
    ]


@pytest.mark.parametrize("metadata", [None, "Version: 1\n", "Name: by-hand\n"])
def test_a_plugin_without_metadata_is_listed_by_its_module(
    metadata: str | None, program: Program, tmp_path: Path
) -> None:
    program.configure('[links]\ndrivers = ["no-such-driver"]\n')
    by_hand = tmp_path / "site"
    (by_hand / "by_hand.dist-info").mkdir(parents=True)
    (by_hand / "by_hand.dist-info/entry_points.txt").write_text("[ec2net]\nmine = by_hand\n")
    if metadata is not None:
        (by_hand / "by_hand.dist-info/METADATA").write_text(metadata)
    program.sites.append(by_hand)
    listed = program("backends")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "mine            by_hand\n" in listed.stdout


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[ec2net]\nt\xfcr = x\n", "UnicodeDecodeError: 'utf-8' codec can't decode"),
        (b"[console_scripts]\nno value\n", "TypeError: "),
    ],
)
def test_an_unreadable_file_of_entry_points_affects_only_its_plugins(
    content: bytes,
    why: str,
    plugin: Callable[[str], Plugins],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file of any package: importlib.metadata then finds no plugin at all. The message for a
    missing plugin names it."""
    folder = tmp_path / "site/anybody-1.dist-info"
    folder.mkdir(parents=True)
    (folder / "entry_points.txt").write_bytes(content)
    nameless = tmp_path / "site/nameless-1.dist-info"
    nameless.mkdir()
    (nameless / "METADATA").write_bytes(b"Name: \xfc\n")
    (nameless / "entry_points.txt").write_text("[ec2net]\nnameless = a_module\n")
    monkeypatch.syspath_prepend(folder.parent)
    plugin("")
    assert [o.source for o in origins() if o.name == "nameless"] == ["a_module"]
    assert Plugins(["ec2net_test_0"]).problems == ()
    assert [o.source for o in origins() if o.name == "ec2net_test_0"] == ["ec2net_test_0 1"]
    with pytest.raises(PluginError) as caught:
        Plugins(["t\xfcr"])
    told = f"in the group 'ec2net'; {folder}/entry_points.txt cannot be read: {why}"
    assert told in str(caught.value)


def test_a_plugin_on_the_search_path_twice_is_listed_once_like_the_loaded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout and an installed copy, or a folder that is listed twice."""
    for version in ("1", "2"):
        folder = tmp_path / version / "twice.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Name: twice\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text("[ec2net]\ntwice = twice\n")
        (folder.parent / "twice.py").touch()
    for again in ("1", "2", "1"):
        monkeypatch.syspath_prepend(tmp_path / again)
    assert [origin.source for origin in origins() if origin.name == "twice"] == ["twice 1"]


@pytest.mark.parametrize(
    ("fault", "name"), [("1 / 0", "ZeroDivisionError"), ("raise SystemExit(2)", "SystemExit")]
)
def test_a_hook_that_raises_does_not_stop_the_pass(
    fault: str, name: str, plugin: Callable[[str], Plugins], caplog: pytest.LogCaptureFixture
) -> None:
    plugins = plugin(
        f"@hookimpl\ndef ec2net_adjust_intent(intent, facts): {fault}\n"
        f"@hookimpl\ndef ec2net_pass_finished(report): {fault}\n"
        f"@hookimpl\ndef ec2net_backends(): {fault}\n"
    )
    assert plugins.adjust(INTENT, FACTS) == INTENT
    plugins.pass_finished(REPORT)
    assert set(plugins.backends()) == set(BUILT_IN)
    assert [record.getMessage() for record in caplog.records] == [
        "ens6: a plugin failed in ec2net_adjust_intent; ignored",
        "a plugin failed in ec2net_pass_finished; ignored",
    ]
    assert f"failed in ec2net_backends: {name}" in str(plugins.problems[0])


def test_a_plugin_is_notified_of_a_finished_pass(
    plugin: Callable[[str], Plugins], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plugins = plugin(
        "import logging\n"
        "@hookimpl\n"
        "def ec2net_pass_finished(report): logging.info('%d requests', report.requests)\n"
    )
    plugins.pass_finished(replace(REPORT, requests=7))
    assert caplog.messages == ["7 requests"]


def adjusting(expression: str) -> str:
    return (
        "from dataclasses import replace\n"
        "from ec2net.core.model.identity import Mac\n"
        "from ec2net.core.model.objects import LinkRef\n"
        "from ec2net.core.model.numbers import EniNumber\n"
        f"@hookimpl\ndef ec2net_adjust_intent(intent, facts): return {expression}\n"
    )


def test_a_plugin_may_change_an_intent(plugin: Callable[[str], Plugins]) -> None:
    plugins = plugin(adjusting("replace(intent, mtu=1500, main_routes=())"))
    assert INTENT.mtu is MtuPolicy.DHCP
    assert plugins.adjust(INTENT, FACTS) == replace(INTENT, mtu=1500, main_routes=())


def test_a_plugin_may_return_an_intent_unchanged(plugin: Callable[[str], Plugins]) -> None:
    assert plugin(adjusting("None")).adjust(INTENT, FACTS) is INTENT


@pytest.mark.parametrize(
    "expression",
    [
        'replace(intent, mac=Mac("06:ec:02:00:00:63"))',
        'replace(intent, link=LinkRef(99, "ens6"))',
        "replace(intent, number=EniNumber(0, 9))",
        "replace(intent, table=254)",
        '"nonsense"',
    ],
)
def test_a_plugin_cannot_give_an_intent_to_another_eni(
    plugin: Callable[[str], Plugins], caplog: pytest.LogCaptureFixture, expression: str
) -> None:
    assert plugin(adjusting(expression)).adjust(INTENT, FACTS) is INTENT
    assert "changed MAC, link, number or table; ignored" in caplog.text


@pytest.mark.parametrize(
    ("classes", "fault"),
    [
        ("(object,)", "is not derived from Backend"),
        ("('netlink',)", "is not derived from Backend"),
        ("(Backend,)", "lacks apply, observe, suits, wanted"),
        ("(type('Nameless', (NetlinkBackend,), {'name': None}),)", "has no name"),
        ("(NetlinkBackend,)", "has the same name as another backend, netlink"),
        ("None", "failed in ec2net_backends"),
    ],
)
def test_a_class_that_is_no_backend_is_ignored(
    plugin: Callable[[str], Plugins], classes: str, fault: str
) -> None:
    plugins = plugin(
        "from ec2net.backends.netlink.backend import NetlinkBackend\n"
        "from ec2net.core.plugins.backend import Backend\n"
        f"@hookimpl\ndef ec2net_backends(): return {classes}\n"
    )
    assert set(plugins.backends()) == set(BUILT_IN)
    (problem,) = plugins.problems
    assert fault in problem.problem
    assert problem.subject == "plugin ec2net_test_0"


def test_a_backend_that_cannot_be_created_is_ignored(program: Program) -> None:
    """A mistake in its ``__init__`` costs no other one."""
    module = (EXAMPLE / "ec2net_noop.py").read_text()
    faulty = module.replace(
        'name: ClassVar[str] = "noop"',
        'name: ClassVar[str] = "faulty"\n\n    def __init__(self, host):\n        host.kernl',
    )
    site = program.path / "site"
    (site / "faulty.dist-info").mkdir(parents=True)
    (site / "faulty.dist-info/entry_points.txt").write_text("[ec2net]\nfaulty = faulty\n")
    (site / "faulty.py").write_text(faulty)
    program.sites.append(site)
    program.configure(
        f'backend = "netlink"\n[[eni]]\nmatch = {{ mac = "{MACS[0]}" }}\nbackend = "faulty"\n'
    )
    plan = program.plan()
    assert (
        "! backend faulty: cannot be created: AttributeError: 'Host' object has no" in plan.stdout
    )
    assert 'backend "faulty" is configured but not available' in plan.stdout
    assert "+ rule" in plan.stdout


def test_built_in_backends_are_first_and_in_their_order(
    plugin: Callable[[str], Plugins],
) -> None:
    plugins = plugin(
        "from ec2net.backends.netlink.backend import NetlinkBackend\n"
        "class Mine(NetlinkBackend): name = 'mine'\n"
        "@hookimpl\ndef ec2net_backends(): return (Mine,)\n"
    )
    assert list(plugins.backends()) == [*BUILT_IN, "mine"]


def test_the_plugin_receives_the_facts_of_an_eni(plugin: Callable[[str], Plugins]) -> None:
    plugins = plugin(adjusting("replace(intent, mtu=len(facts.imds.enis) * 1000)"))
    adjusted: EniIntent = plugins.adjust(INTENT, FACTS)
    assert adjusted.mtu == 2000
    values: list[Any] = [own.mac for own in FACTS.imds.enis if isinstance(own.ipv6s, Value)]
    assert values == [mac(0), mac(1)]
