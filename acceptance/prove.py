#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prove from the inside that ec2net configured this host, and print a report to send in.

    prove.py [--to ADDRESS:PORT] [--peer ADDRESS:PORT] [--attach ENI-ID --instance INSTANCE-ID]
             [--report FILE]
    prove.py --answer PORT      on the peer: another host, which needs only Python

Run it as root. It needs ec2net and Python 3.9, and changes nothing by itself: it runs a pass, which
must change nothing either. With --attach it also calls the AWS CLI: it attaches that ENI, proves
it, and detaches it again. With --peer it asks the peer to connect to each address, at the peer's port.
The report has MAC addresses and ids of ENIs replaced; IP addresses stay.

It ends with 0 if every check passed, and with 1 otherwise. Every wait has an end.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMAND_SECONDS = 180.0
CONNECT_SECONDS = 5.0
HOTPLUG_SECONDS = 120.0
ANSWER_SECONDS = 3600.0
"""The peer ends after this time."""
SAMPLES = 5
"""Connections for each latency."""

IMDS = {4: "169.254.169.254", 6: "fd00:ec2::254"}


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(argv, 127, "", str(error))


def ec2net_json(*words: str) -> Any:
    done = run("ec2net", *words, "--json")
    if not done.stdout.strip():
        raise RuntimeError(f"ec2net {' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return json.loads(done.stdout)


class Report:
    """The checks, each with what was seen."""

    def __init__(self) -> None:
        self.checks: list[dict[str, Any]] = []

    def check(self, name: str, prove: Callable[[], tuple[bool, str]]) -> None:
        began = time.monotonic()
        try:
            passed, seen = prove()
        except Exception as error:  # noqa: BLE001 - a check that cannot be made has failed
            passed, seen = False, f"{type(error).__name__}: {error}"
        seconds = round(time.monotonic() - began, 2)
        self.checks.append({"check": name, "passed": passed, "seen": seen, "seconds": seconds})
        print(f"{'ok  ' if passed else 'FAIL'} {name}: {seen}", flush=True)

    @property
    def passed(self) -> bool:
        return all(one["passed"] for one in self.checks)


def host() -> dict[str, str]:
    told = {"kernel": platform.release(), "machine": platform.machine()}
    told["ec2net"] = run("ec2net", "--version").stdout.strip()
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name in ("ID", "VERSION_ID", "PRETTY_NAME"):
            told[name.lower()] = value.strip('"')
    for unit in ("ec2net.service", "systemd-networkd.service", "NetworkManager.service"):
        told[unit] = run("systemctl", "is-active", unit).stdout.strip() or "unknown"
    return told


def configured() -> tuple[bool, str]:
    status = ec2net_json("status")
    states = {eni["link"] or eni["mac"]: eni["state"] for eni in status["enis"]}
    trouble = [text for eni in status["enis"] for text in eni["trouble"]] + status["problems"]
    good = {"configured", "ignored", "observed", "no-address", "absent"}
    well = bool(states) and not trouble and set(states.values()) <= good
    return well, f"{states}{f', trouble: {trouble}' if trouble else ''}"


def addresses() -> list[tuple[str, str]]:
    """Each address of each configured ENI, with its link."""
    found = []
    for eni in ec2net_json("status")["enis"]:
        intent = eni["intent"] or {}
        for text in [*intent.get("base", []), *intent.get("further", [])]:
            found.append((eni["link"], str(ipaddress.ip_interface(text).ip)))
    return found


def latency(source: str, target: tuple[str, int]) -> float:
    """The median time of a TCP connection, in milliseconds. Raises OSError."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    times = []
    for _ in range(SAMPLES):
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(CONNECT_SECONDS)
            connection.bind((source, 0))
            began = time.monotonic()
            connection.connect(target)
            times.append(1000 * (time.monotonic() - began))
    return statistics.median(times)


def connects(source: str, to: tuple[str, int] | None) -> tuple[bool, str]:
    """To IMDS, which the VPC answers only for the ENI that owns the source; and to ``to``."""
    version = ipaddress.ip_address(source).version
    targets = [(IMDS[version], 80)]
    if to is not None and ipaddress.ip_address(to[0]).version == version:
        targets.append(to)
    seen = [f"{address} {latency(source, (address, port)):.2f} ms" for address, port in targets]
    return True, ", ".join(seen)


def answers(address: str, peer: tuple[str, int]) -> tuple[bool, str]:
    """The peer connects to ``address``: its packets arrive, and the replies reach the peer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.settimeout(CONNECT_SECONDS)
        listener.bind((address, peer[1]))
        listener.listen()
        with socket.create_connection(peer, CONNECT_SECONDS) as asked:
            asked.settimeout(2 * CONNECT_SECONDS)
            asked.sendall(f"{address}\n".encode())
            told = asked.makefile().readline().strip() or "no answer from the peer"
        if not told.endswith(" ms"):
            return False, told
        connection, (client, *_) = listener.accept()
        connection.close()
    return True, f"{told} from {client}"


def connect_back(client: socket.socket, port: int) -> str:
    """The answer to a client that named an address: the time of a connection, or the error."""
    client.settimeout(CONNECT_SECONDS)
    address = str(ipaddress.ip_address(client.makefile().readline().strip()))
    began = time.monotonic()
    try:
        socket.create_connection((address, port), CONNECT_SECONDS).close()
    except OSError as error:
        return f"the peer could not connect: {error}"
    return f"{1000 * (time.monotonic() - began):.2f} ms"


def answer(port: int) -> int:
    """The second mode: connect back to each address that a client names, and send nothing."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    end = time.monotonic() + ANSWER_SECONDS
    with socket.create_server(("", port), family=family, dualstack_ipv6=dual) as server:
        print(f"answering on port {port} for {ANSWER_SECONDS:g} s", flush=True)
        while (left := end - time.monotonic()) > 0:
            server.settimeout(left)
            try:
                client, _ = server.accept()
                with client:
                    client.sendall(f"{connect_back(client, port)}\n".encode())
            except (OSError, ValueError) as error:
                print(error, flush=True)
    return 0


def ends_with(status: int, *words: str) -> tuple[bool, str]:
    done = run("ec2net", *words)
    said = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode == status, said[-1] if said else f"exit status {done.returncode}"


def no_errors() -> tuple[bool, str]:
    found = ec2net_json("doctor")["findings"]
    errors = [
        f"{one['check']} {one['subject']}: {one['cause']}"
        for one in found
        if one["severity"] == "error"
    ]
    return not errors, "; ".join(errors) or f"{len(found)} warnings and notes"


def kernel() -> dict[str, list[str]]:
    """What ec2net can change, without counters and lifetimes."""
    commands = {
        "rules": ("ip", "rule"),
        "rules, IPv6": ("ip", "-6", "rule"),
        "routes": ("ip", "route", "show", "table", "all"),
        "routes, IPv6": ("ip", "-6", "route", "show", "table", "all"),
        "addresses": ("ip", "-oneline", "address"),
    }
    times = re.compile(r"\s(expires \d+sec|valid_lft \S+|preferred_lft \S+|hoplimit \d+)")
    return {
        name: sorted(times.sub("", line).strip() for line in run(*argv).stdout.splitlines())
        for name, argv in commands.items()
    }


def pass_changes_nothing() -> tuple[bool, str]:
    before = kernel()
    done = run("ec2net", "refresh")
    after = kernel()
    different = [name for name in before if before[name] != after[name]]
    return done.returncode == 0 and not different, f"changed: {', '.join(different) or 'nothing'}"


def until(good: Callable[[], bool], seconds: float) -> float:
    """How long it took. Raises RuntimeError."""
    began = time.monotonic()
    while not good():
        if time.monotonic() - began > seconds:
            raise RuntimeError(f"not done within {seconds:g} s")
        time.sleep(1)
    return time.monotonic() - began


def state_of(eni: str) -> str | None:
    return next(
        (one["state"] for one in ec2net_json("status")["enis"] if one["eni_id"] == eni), None
    )


def prove_addresses(report: Report, given: argparse.Namespace, when: str = "") -> None:
    """Each address out, and in if there is a peer."""
    try:
        every = addresses()
    except (RuntimeError, ValueError) as error:
        reason = str(error)
        report.check("addresses", lambda: (False, reason))
        return
    for link, address in every:
        report.check(f"{address} ({link}){when}", lambda a=address: connects(a, given.to))
        if given.peer:
            report.check(f"{address} ({link}){when}, in", lambda a=address: answers(a, given.peer))


def hotplug(report: Report, given: argparse.Namespace) -> None:
    """Attach, prove and detach; the host must be afterwards what it was before."""
    eni, instance = given.attach, given.instance
    aws = ("aws", "ec2", "--output", "text")
    before = kernel()
    index = str(max(2, 1 + len(ec2net_json("status")["enis"])))
    attached = run(
        *aws, "attach-network-interface", "--network-interface-id", eni,
        "--instance-id", instance, "--device-index", index, "--query", "AttachmentId",
    )  # fmt: skip
    if attached.returncode:
        report.check("attach", lambda: (False, attached.stderr.strip()))
        return

    def settled() -> tuple[bool, str]:
        took = until(lambda: state_of(eni) == "configured", HOTPLUG_SECONDS)
        return True, f"configured after {took:.0f} s"

    def gone() -> tuple[bool, str]:
        done = run(*aws, "detach-network-interface", "--attachment-id", attached.stdout.strip())
        if done.returncode:
            return False, done.stderr.strip()
        until(lambda: state_of(eni) is None, HOTPLUG_SECONDS)
        took = until(lambda: kernel() == before, HOTPLUG_SECONDS)
        return True, f"no leftovers {took:.0f} s after the ENI left the status"

    report.check("attach", settled)
    report.check("verify with the new ENI", lambda: ends_with(0, "verify", "--connect"))
    prove_addresses(report, given, " with the new ENI")
    report.check("detach", gone)


def redacted(text: str) -> str:
    """Without MAC addresses and ids of ENIs; the same one gets the same number."""
    names: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        kind = "eni" if match[0].startswith("eni-") else "mac"
        return names.setdefault(match[0], f"{kind}-{len(names) + 1}")

    return re.sub(r"\beni-[0-9a-f]+\b|\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b", name, text)


def record() -> Any:
    """What IMDS said, by 'ec2net record --redact', which never has tokens or user data."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "record.json")
        done = run("ec2net", "record", "--redact", str(path))
        return json.loads(path.read_text()) if done.returncode == 0 else done.stderr.strip()


def endpoint(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    return str(ipaddress.ip_address(address.strip("[]"))), int(port)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=endpoint, metavar="ADDRESS:PORT")
    parser.add_argument("--peer", type=endpoint, metavar="ADDRESS:PORT")
    parser.add_argument("--answer", type=int, metavar="PORT")
    parser.add_argument("--attach", metavar="ENI-ID")
    parser.add_argument("--instance", metavar="INSTANCE-ID")
    parser.add_argument("--report", metavar="FILE")
    given = parser.parse_args()
    if bool(given.attach) != bool(given.instance):
        parser.error("--attach and --instance need each other")
    return given


def main() -> int:
    given = options()
    if given.answer:
        return answer(given.answer)
    report, about = Report(), host()
    print(json.dumps(about))
    report.check("state of all ENIs", configured)
    report.check("routing", lambda: ends_with(0, "verify", "--connect"))
    prove_addresses(report, given)
    report.check("doctor", no_errors)
    report.check("plan is empty", lambda: ends_with(0, "plan", "--exit-code"))
    report.check("a pass changes nothing", pass_changes_nothing)
    if given.attach:
        hotplug(report, given)
    document = {"version": 1, "host": about, "passed": report.passed, "checks": report.checks}
    if given.report:
        whole = json.dumps({**document, "record": record()}, indent=1)
        Path(given.report).write_text(redacted(whole) + "\n")
    failed = sum(not one["passed"] for one in report.checks)
    print(f"{len(report.checks)} checks, {failed} failed.")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
