# SPDX-License-Identifier: Apache-2.0
"""Faults of IMDS, by name, and the keys that they affect."""

from ec2net.core.simulation.vpc.imds_faults import (
    Delay,
    Drip,
    Effect,
    EmptyBody,
    Fault,
    Garbage,
    Hang,
    ListingAdds,
    ListingOmits,
    Oversized,
    Redirect,
    Reset,
    Status,
    TokenLife,
    TokenSpent,
    Truncated,
)

PASS = 2.0
"""Seconds of a pass with a fault in most tests here; the default is 15."""
KEYS = r"/(local-ipv4s|ipv6s|ipv4-prefix|ipv6-prefix|subnet-ipv[46]-cidr-blocks?)$"
ENI_KEYS = r"/macs/[0-9a-f:]+/."
MAC_LIST = r"/macs/$"
KEY_LIST = r"/macs/[0-9a-f:]+/$"
TOKEN = r"/api/token$"
LATER = "06:ec:02:00:00:02"
"""The MAC of the second ENI."""

FAULTS: dict[str, Effect | Fault] = {
    "404 everywhere": Status(404),
    "404 on address keys": Fault(Status(404), KEYS),
    "404 on the list of MACs": Fault(Status(404), MAC_LIST),
    "404 on the lists of keys": Fault(Status(404), KEY_LIST),
    "404 on one ENI": Fault(Status(404), LATER),
    "429": Status(429),
    "429, come back in 1 s": Status(429, retry_after=1),
    "429, come back in 1 h": Status(429, retry_after=3600),
    "503": Status(503),
    "503 half the time": Fault(Status(503), rate=0.5),
    "401": Status(401),
    "403, IMDS disabled": Status(403),
    "hang": Hang(),
    "hang on address keys": Fault(Hang(), KEYS),
    "hang on one ENI": Fault(Hang(), LATER),
    "drip": Drip(),
    "drip of address keys": Fault(Drip(headers_at_once=True), KEYS),
    "late": Delay(0.2),
    "garbage": Garbage(),
    "garbage for addresses": Fault(Garbage(), KEYS),
    "garbage among addresses": Fault(Garbage(b"10.0.2.4\n10.0.2.5\n10.0.2.6/3O\n"), KEYS),
    "addresses of elsewhere": Fault(Garbage(b"192.0.2.1"), "/local-ipv4s$"),
    "everything is on-link": Fault(Garbage(b"0.0.0.0/0"), "/ipv4-prefix$"),
    "unit file for a prefix": Fault(Garbage(b"[Match]\nName=*\n"), "/ipv4-prefix$"),
    "oversized address keys": Fault(Oversized(), KEYS),
    "empty": EmptyBody(),
    "empty address keys": Fault(EmptyBody(), KEYS),
    "empty lists of keys": Fault(EmptyBody(), KEY_LIST),
    "empty list of MACs": Fault(EmptyBody(), MAC_LIST),
    "truncated address keys": Fault(Truncated(), KEYS),
    "reset": Reset(),
    "reset half the time": Fault(Reset(), rate=0.5),
    "redirect": Redirect(),
    "tokens end at each request": TokenSpent(),
    "tokens live 20 ms": TokenLife(0.02),
    "list names a key that is not there": Fault(ListingAdds("ipv6-prefix"), KEY_LIST),
    "list names an ENI that is not there": Fault(ListingAdds("06:ec:02:99:99:99/"), MAC_LIST),
    "list lacks the IPv4 addresses": Fault(ListingOmits("local-ipv4s"), KEY_LIST),
    "list lacks the IPv6 addresses": Fault(ListingOmits("ipv6s"), KEY_LIST),
    "list lacks the prefixes": Fault(ListingOmits("ipv4-prefix"), KEY_LIST),
    "list lacks the subnets": Fault(ListingOmits("subnet-ipv4-cidr-block"), KEY_LIST),
    "list lacks an ENI": Fault(ListingOmits(f"{LATER}/"), MAC_LIST),
    "no token: hang": Fault(Hang(), TOKEN),
    "no token: garbage": Fault(Garbage(), TOKEN),
    "no token: 503": Fault(Status(503), TOKEN),
    "no token: 403": Fault(Status(403), TOKEN),
}
