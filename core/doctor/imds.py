# SPDX-License-Identifier: Apache-2.0
"""Findings about the ways to IMDS: none, not the host's own, not through some ENI. Pure."""

from collections.abc import Collection, Iterator

from ec2net.core.decide.intent import HostIntent
from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.imds.ways import Outcome, Way

_MODIFY = "aws ec2 modify-instance-metadata-options --instance-id ID"


def unreachable(ways: Collection[Way], host: HostIntent) -> Iterator[Finding]:
    """The worst alone, if nothing answers: the rest follows from it.

    An endpoint that answers nowhere, while the other one does, is turned off (that of IPv6 is, by
    default) and no finding. No ways at all: they were not tried.
    """
    if not ways:
        return
    answering = [way.candidate for way in ways if way.outcome is Outcome.ANSWERS]
    if not answering:
        yield _nowhere(ways)
        return
    by_default = {candidate.endpoint for candidate in answering if not candidate.device}
    if not by_default:
        yield Finding(
            Severity.ERROR,
            Check.IMDS,
            "",
            f"IMDS answers {answering[0]}, but not through the host's own routes: other "
            "programs cannot reach it",
            f"find the route that hides IMDS: ip route get {answering[0].endpoint.address}",
        )
    yield from _through_links(ways, host, by_default)


def _nowhere(ways: Collection[Way]) -> Finding:
    disabled = [way.candidate for way in ways if way.outcome is Outcome.DISABLED]
    if disabled:
        return Finding(
            Severity.ERROR,
            Check.IMDS_DISABLED,
            "",
            f"IMDS is disabled for this instance (403 from {disabled[0]}): ec2net cannot read "
            "what EC2 assigned",
            f"run: {_MODIFY} --http-endpoint enabled",
        )
    reasons = {way.reason or "no answer": way.candidate for way in reversed(list(ways))}
    told = "; ".join(f"{way}: {reason}" for reason, way in reversed(reasons.items()))
    if refused := next((reason for reason in reasons if reason.startswith("HTTP ")), ""):
        return Finding(
            Severity.ERROR,
            Check.IMDS,
            "",
            f"IMDS gives no token ({told}): ec2net cannot read what EC2 assigned",
            "see which program answers, IMDS or another one in its place: curl -iX PUT -H "
            "'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token; "
            f"if IMDS itself answers {refused} for minutes, ask AWS",
        )
    return Finding(
        Severity.ERROR,
        Check.IMDS,
        "",
        f"IMDS does not answer, at any endpoint or through any link ({told})",
        "check that IMDS is enabled, and that no route, rule or firewall hides "
        "169.254.169.254: aws ec2 describe-instances --query '*[].*[].MetadataOptions'",
    )


def _through_links(
    ways: Collection[Way], host: HostIntent, by_default: Collection[object]
) -> Iterator[Finding]:
    """ENIs through which IMDS is silent, although an endpoint answers the host in a family that the
    ENI has an address of. One endpoint is enough: main has no IPv6 default route for each ENI."""
    families = {i.link.name: {own.version for own in i.base} for i in host.ready}
    for link, versions in families.items():
        through = [
            way
            for way in ways
            if way.candidate.device == link
            and way.candidate.endpoint in by_default
            and way.candidate.endpoint.address.version in versions
        ]
        silent = [way for way in through if way.outcome is not Outcome.ANSWERS]
        if silent and silent == through:
            yield Finding(
                Severity.WARNING,
                Check.IMDS,
                link,
                f"IMDS does not answer {' and '.join(str(way.candidate) for way in silent)} "
                f"({silent[0].reason or silent[0].outcome.value}): if the other ENIs fail, IMDS "
                "becomes unreachable",
                "run: ec2net verify; if it finds nothing, check the link for a packet filter "
                "(nft, tc)",
            )


def short_hops(reaches_further: bool | None, forwards: bool) -> Iterator[Finding]:
    """``reaches_further`` is None where it was not looked at."""
    if forwards and reaches_further is False:
        yield Finding(
            Severity.NOTE,
            Check.HOP_LIMIT,
            "",
            "the host forwards packets, but answers of IMDS end on this host (hop limit 1): "
            "containers on a bridge get no token",
            f"if containers need IMDS: {_MODIFY} --http-put-response-hop-limit 2",
        )
