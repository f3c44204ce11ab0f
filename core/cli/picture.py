# SPDX-License-Identifier: Apache-2.0
"""Sources, rules, tables and links of ENIs as a graph in the DOT language; graphviz draws it.

From left to right: source of the traffic, matching rules, their tables, and the links of the
routes. Changes that a pass would make have the colours of a plan.
"""

import subprocess
from collections.abc import Collection, Iterator

from ec2net.core.decide.intent import EniIntent, EniOutcome
from ec2net.core.engine.pass_plan import View
from ec2net.core.model.errors import Ec2netError
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import MAIN_TABLE, Route, Rule, RuleAction
from ec2net.core.model.plan import Action, Item, purpose_of
from ec2net.core.model.purpose import Purpose
from ec2net.core.runtime.command import run_bounded
from ec2net.core.runtime.deadline import Deadline

_STYLES = {
    Action.ADD: ' color="green4" fontcolor="green4" style="dashed"',
    Action.REPLACE: ' color="orange3" fontcolor="orange3" style="dashed"',
    Action.REMOVE: ' color="red3" fontcolor="red3" style="dotted"',
}

_HEAD = """\
digraph ec2net {
  rankdir=LR;
  node [shape="box" fontname="monospace" fontsize="10"];
  edge [fontname="monospace" fontsize="9"];"""

_LEGEND = "dashed: to be added or replaced, dotted: to be removed"


def dot(view: View, only: Collection[Mac] | None = None) -> str:
    """The ENIs in ``only`` (None: all of them)."""
    shown = [eni for eni in view.host.enis if only is None or eni.mac in only]
    changes = {step.item: step.action for step in view.plan.changes}
    lines = [_HEAD]
    if changes.keys() & {item for eni in shown for item in _items(eni, view)}:
        lines.append(f"  label={_quoted(_LEGEND)};")
    for eni in shown:
        lines += _link(eni)
        lines += _ways(eni, view, changes)
    return "\n".join([*dict.fromkeys(lines), "}"])


def _items(eni: EniOutcome, view: View) -> tuple[Item, ...]:
    """Intended rules and routes of an ENI, and those that a pass would remove."""
    intent = eni.intent
    wanted: list[Item] = []
    if intent is not None:
        # what the tree of rules does, and not how
        wanted += (*intent.rules, *intent.corrections, *intent.no_ipv4)
        wanted += [route for route in intent.every_route if route.link == intent.link]
    own = view.plan.of(eni.mac)
    removed = [step.item for step in own.changes if step.action is Action.REMOVE]
    shown = (item for item in removed if purpose_of(item) is not Purpose.TREE)
    return (*wanted, *(item for item in shown if isinstance(item, Rule | Route)))


def _link(eni: EniOutcome) -> Iterator[str]:
    words = [eni.name, str(eni.eni_id or eni.mac)]
    if eni.intent is not None:
        words.append("primary" if eni.intent.primary else str(eni.intent.number))
    else:
        words.append(f"{eni.standing.value}: {eni.reason}")
    yield f'  {_node("link", eni.name)} [label={_label(words)} style="bold"];'
    if eni.intent is not None and not eni.intent.rules:
        yield from _without_rules(eni.intent)


def _without_rules(intent: EniIntent) -> Iterator[str]:
    """Its traffic goes the host's way: by the main table."""
    source = _node("from", str(intent.mac))
    words = [str(interface.ip) for interface in intent.sources] or ["no address"]
    yield f'  {source} [label={_label(words)} shape="plaintext"];'
    yield f"  {source} -> {_table(MAIN_TABLE)};"
    yield f"  {_table(MAIN_TABLE)} [{_table_label(MAIN_TABLE)}];"
    if intent.primary:
        yield f'  {_table(MAIN_TABLE)} -> {_node("link", str(intent.link))} [label="default"];'


def _ways(eni: EniOutcome, view: View, changes: dict[Item, Action]) -> Iterator[str]:
    for item in _items(eni, view):
        action = changes.get(item)
        style = _STYLES[action] if action else ""
        if isinstance(item, Rule):
            yield from _rule(item, style)
        elif isinstance(item, Route):
            yield from _route(item, style)


def _rule(rule: Rule, style: str) -> Iterator[str]:
    source, node = _node("from", str(rule.source)), _node("rule", rule.describe())
    words = [f"rule {rule.priority}"]
    if rule.destination is not None:
        words.append(f"to {rule.destination}")
    if rule.mark is not None:
        words.append(f"marked {rule.mark}")
    if rule.suppress_prefixlength is not None:
        words.append("without default routes")
    if rule.suppress_group is not None:
        words.append("without routes through ENIs")
    if rule.action is RuleAction.UNREACHABLE:
        words.append("unreachable")
    yield f'  {source} [label={_quoted(str(rule.source))} shape="plaintext"];'
    yield f"  {node} [label={_label(words)}{style}];"
    yield f"  {source} -> {node} [{style.lstrip()}];"
    if rule.action is RuleAction.LOOKUP:
        yield f"  {node} -> {_table(rule.table)} [{style.lstrip()}];"
        yield f"  {_table(rule.table)} [{_table_label(rule.table)}];"


def _route(route: Route, style: str) -> Iterator[str]:
    default = route.destination.prefixlen == 0
    words = ["default" if default else str(route.destination)]
    if default:
        words[0] += f" (IPv{route.destination.version})"
    if route.gateway is not None:
        words.append(f"via {route.gateway}")
    if route.table == MAIN_TABLE:
        words.append(f"metric {route.metric}")
    link = _node("link", route.link.name)
    yield f"  {_table(route.table)} [{_table_label(route.table)}];"
    yield f"  {_table(route.table)} -> {link} [label={_label(words)}{style}];"


def _table(table: int) -> str:
    return _node("table", str(table))


def _table_label(table: int) -> str:
    name = "main" if table == MAIN_TABLE else str(table)
    return f'label={_quoted(f"table {name}")} shape="ellipse"'


def _node(kind: str, name: str) -> str:
    return _quoted(f"{kind} {name}")


def _label(lines: Collection[str]) -> str:
    return '"' + "".join(f"{_escaped(line)}\\l" for line in lines) + '"'


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """A link's name may have any sign but blanks and slashes."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


SECONDS = 30.0
"""Time limit for drawing."""


_INSTEAD = "or use --dot and another program to draw the graph"


def svg(dot: str, deadline: Deadline) -> str:
    """The text of an SVG document. Raises ``Ec2netError`` if it cannot be drawn."""
    limit = deadline.within(SECONDS, "dot")
    try:
        done = run_bounded(("dot", "-Tsvg"), limit, given=dot)
    except FileNotFoundError as error:
        remedy = f"install the package graphviz, {_INSTEAD}"
        raise Ec2netError(
            "dot, which draws the picture, is not installed", remedy=remedy
        ) from error
    except OSError as error:
        raise Ec2netError(f"dot cannot be run: {error.strerror}", remedy=_INSTEAD) from error
    except subprocess.TimeoutExpired as error:
        told = f"dot did not end within {limit.seconds:.0f} s"
        raise Ec2netError(told, remedy="draw one ENI, " + _INSTEAD) from error
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise Ec2netError(f"dot failed: {why}", remedy=_INSTEAD)
    return done.stdout
