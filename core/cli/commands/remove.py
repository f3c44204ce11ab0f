# SPDX-License-Identifier: Apache-2.0
"""``ec2net remove LINK``: remove the configuration of one ENI, from its link and from the rules."""

import json
from argparse import Namespace

from ec2net.core.cli.arguments import link_argument
from ec2net.core.engine.setup import opened
from ec2net.core.kernel.link_events import link_index
from ec2net.core.model.errors import ExitStatus, LinkGone, UsageError
from ec2net.core.model.identity import Mac
from ec2net.core.report.eni_state import State
from ec2net.core.state.config_in_force import Workplace, workplace
from ec2net.core.state.run_dir import RunDir
from ec2net.core.state.touched_links import is_marked


def run(options: Namespace) -> ExitStatus:
    name = link_argument(options.link)
    if options.if_gone and (
        link_index(name) is not None or not is_marked(RunDir(options.run_dir), name)
    ):
        return ExitStatus.DONE
    return _remove(name, options)


def _check(name: str, macs: frozenset[Mac], place: Workplace, *, force: bool) -> None:
    """Raises ``UsageError`` for what would come back at once, or cut the host off."""
    from ec2net.core.daemon.published import published
    from ec2net.core.state import last_known

    if (daemon := published(place.run)) is not None:
        states = {row["mac"]: row["state"] for row in daemon["enis"]}
        if not macs:
            raise LinkGone("no ENI has such a link, and the daemon removes leftovers", subject=name)
        if any(states.get(str(mac)) != State.IGNORED for mac in macs):
            raise UsageError(
                f"the daemon would configure {name} again at once",
                remedy='set manage = "ignore" for this ENI and reload ec2net.service, or stop'
                " ec2net.service first",
            )
    if last_known.read(place.run).primary in macs and not force:
        raise UsageError(
            f"{name} is the primary ENI: the host may lose its network",
            remedy="to remove its configuration nevertheless, give --force",
        )


def _remove(name: str, options: Namespace) -> ExitStatus:
    from ec2net.core.decide.candidate import eni_links
    from ec2net.core.engine.one_pass import one_pass
    from ec2net.core.report import log_lines
    from ec2net.core.report.publisher import StatusPublisher
    from ec2net.core.runtime.signals import StopSignals

    place = workplace(options, may_fall_back=True)
    with StopSignals() as signals, opened(place, imds=False) as engine:
        links = eni_links(engine.kernel.links(), engine.config.drivers)
        macs = frozenset(
            mac for mac, same in links.items() if any(name in (s.name, *s.altnames) for s in same)
        )
        if not options.if_gone:
            _check(name, macs, place, force=options.force)
        # Other ENIs are not changed: removing one after the other removes all. Without a link its
        # rules are leftovers, which every pass removes.
        done = one_pass(
            engine,
            StatusPublisher(place),
            signals.deadline,
            f"remove {name}",
            only=macs,
            without=macs,
        )
    log_lines.report(done)
    report = done.report
    if options.json:
        print(json.dumps(done.to_json(), indent=2))
    if not macs and not report.done and not options.if_gone:
        raise LinkGone("there is no such link, and no configuration of ec2net for it", subject=name)
    return place.status(report.exit_status)
