# SPDX-License-Identifier: Apache-2.0
"""From the right answer of IMDS to the one that the faults leave of it."""

from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus

from ec2net.core.simulation.vpc.imds_faults import (
    Delay,
    Drip,
    Effect,
    EmptyBody,
    Garbage,
    Hang,
    ListingAdds,
    ListingOmits,
    OnlyFrom,
    Oversized,
    Redirect,
    Reset,
    Status,
    Truncated,
)
from ec2net.core.simulation.vpc.imds_server import Reply


def error_reply(code: int, headers: dict[str, str] | None = None) -> Reply:
    """An error with the XHTML page that EC2's server sends."""
    title = f"{code} - {HTTPStatus(code).phrase}"
    page = (
        '<?xml version="1.0" encoding="iso-8859-1"?>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">\n'
        f" <head>\n  <title>{title}</title>\n </head>\n"
        f" <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
    )
    return Reply(code, page.encode(), {"Content-Type": "text/html", **(headers or {})})


def directory_names(names: Iterable[str], struck: Iterable[Effect]) -> list[str]:
    """The names that a lying directory lists."""
    lines = list(names)
    for effect in struck:
        if isinstance(effect, ListingAdds):
            lines.append(effect.name)
        elif isinstance(effect, ListingOmits):
            lines = [line for line in lines if line.rstrip("/") != effect.name.rstrip("/")]
    return lines


def apply_faults(right: Reply, struck: Iterable[Effect]) -> Reply:
    """The reply to send. If several effects replace the answer, the last injected one wins."""
    reply = right
    for effect in struck:
        reply = _apply(reply, effect)
    return reply


def _apply(reply: Reply, effect: Effect) -> Reply:
    match effect:
        case Status(code, retry_after):
            headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
            wrong = error_reply(code, headers)
        case Hang() | OnlyFrom():
            wrong = Reply(0)
        case Garbage(body):
            wrong = Reply(200, body)
        case Oversized(size):
            wrong = Reply(200, b"x" * size)
        case EmptyBody():
            wrong = Reply(200)
        case Redirect(location):
            wrong = Reply(302, b"", {"Location": location})
        case Reset():
            wrong = Reply(0, reset=True)
        case Truncated():
            return replace(reply, share=0.5)
        case Drip(bytes_per_second, headers_at_once):
            return replace(
                reply, seconds_per_byte=1 / bytes_per_second, headers_at_once=headers_at_once
            )
        case Delay(seconds):
            return replace(reply, delay=reply.delay + seconds)
        case _:
            return reply
    return replace(wrong, delay=reply.delay, seconds_per_byte=reply.seconds_per_byte)
