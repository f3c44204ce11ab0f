# SPDX-License-Identifier: Apache-2.0
"""A stable code for each kind of message, and its MESSAGE_ID in the journal.

Texts change with the state and with versions; a code does not. It says whether a problem is the one
of the pass before.
"""

from enum import StrEnum

from ec2net.core.model.errors import (
    ConfigError,
    DeadlineExceeded,
    DoubleManagement,
    Ec2netError,
    ImdsError,
    KernelError,
    LinkGone,
    NotYet,
    PluginError,
    SharedTables,
    StateError,
    Unsupported,
)


class Code(StrEnum):
    """The kind of a message; the field REASON_CODE. The values are a contract with readers."""

    CHANGE = "change"
    DRIFT = "drift"
    IMDS = "imds"
    KERNEL = "kernel"
    STATE = "state"
    DEADLINE = "deadline"
    PLUGIN = "plugin"
    CONFIGURATION = "configuration"
    UNSUPPORTED = "unsupported"
    WAITING = "waiting"
    LINK_GONE = "link-gone"
    OTHER_TOOL = "other-tool"
    CONFLICT = "conflict"
    SHARED_TABLE = "shared-table"
    VERIFY = "verify"
    FOREIGN_RULE = "foreign-rule"
    DIVERTED = "diverted"
    DISCARDED = "discarded"
    MISSING_SOURCE = "missing-source"
    ROLLED_BACK = "rolled-back"
    REFUSED = "refused"
    PENDING = "pending"
    ABSENT = "absent"
    IGNORED = "ignored"
    NO_ADDRESS = "no-address"
    REPAIRS_LIMITED = "repairs-limited"
    PAUSED = "paused"
    OTHER = "other"

    @property
    def meaning(self) -> str:
        return _MEANING[self]

    @property
    def message_id(self) -> str:
        """128 bits in hexadecimal digits (systemd.journal-fields(7), "MESSAGE_ID=")."""
        return _MESSAGE_IDS[self]


_MEANING = {
    Code.CHANGE: "A change of an object by ec2net.",
    Code.DRIFT: "Another program removed or changed an object of ec2net.",
    Code.IMDS: "Reading IMDS failed, or was not complete.",
    Code.KERNEL: "The kernel refused a change or an answer.",
    Code.STATE: "Reading or writing the state directory failed.",
    Code.DEADLINE: "The time of a pass was over before its end.",
    Code.PLUGIN: "A plugin is missing or failed.",
    Code.CONFIGURATION: "A configuration file has an error.",
    Code.UNSUPPORTED: "The backend does not have a setting that the configuration asks for.",
    Code.WAITING: "A network manager has not finished its part.",
    Code.LINK_GONE: "A link disappeared during a pass.",
    Code.OTHER_TOOL: "Another tool configures ENIs, so ec2net does not.",
    Code.CONFLICT: "A foreign object has the place of one of ec2net.",
    Code.SHARED_TABLE: "Another program uses a table that ec2net keeps for an ENI.",
    Code.VERIFY: "An object of ec2net is missing, differs or is left over.",
    Code.FOREIGN_RULE: "A rule of another program takes an ENI's traffic.",
    Code.DIVERTED: "The kernel routes an ENI's traffic through another link.",
    Code.DISCARDED: "The kernel discards an ENI's traffic, or has no route for it.",
    Code.MISSING_SOURCE: "The host does not have an address of an ENI.",
    Code.ROLLED_BACK: "Changes are on hold after a roll-back.",
    Code.REFUSED: "The facts about an ENI contradict each other.",
    Code.PENDING: "The facts about an ENI are incomplete.",
    Code.ABSENT: "The host has no link of an ENI.",
    Code.IGNORED: "An ENI is one that ec2net does not configure.",
    Code.NO_ADDRESS: "An ENI has no address.",
    Code.REPAIRS_LIMITED: "Another program removes objects again and again, so repairs wait.",
    Code.PAUSED: "Changes wait for the end of a pause.",
    Code.OTHER: "Any other problem.",
}

_MESSAGE_IDS = {
    Code.CHANGE: "a70eb284fff3fa9884e5343cffbfd984",
    Code.DRIFT: "920144612a4af501d24baf1f4aa86c3e",
    Code.IMDS: "6b58ae84d6cdfd95546288d73ced2a43",
    Code.KERNEL: "bb8e03614168f9b37aed7ae8223c9657",
    Code.STATE: "2c0b71e400a678ff3cedaae2da029516",
    Code.DEADLINE: "a9cd98756ab9285c9fc4c435abcbd097",
    Code.PLUGIN: "c4ba7152ca210d9f9d8074edeeb3d75c",
    Code.CONFIGURATION: "610573d6e7bc59e22ce1cd2eb17fa56d",
    Code.UNSUPPORTED: "155eca3a4a68a670260ae574b4f64807",
    Code.WAITING: "b6eba3736e77ab6f34968f9b0f47f386",
    Code.LINK_GONE: "6eeb3dab1eaf2e06f7182824f5dd7048",
    Code.OTHER_TOOL: "022e895b1ac8a8d66fd96259cbb60479",
    Code.CONFLICT: "d334e62e70d651bf2cb5d96d46e7f65e",
    Code.SHARED_TABLE: "e5f181bb809246b8ea866dd5d062315b",
    Code.VERIFY: "29ebcac46c056e028dd720c031734cc4",
    Code.FOREIGN_RULE: "a0f83a755c0d4cf5a34f045be591fba9",
    Code.DIVERTED: "f14f90e645ac482387c9e3f718ca4e2d",
    Code.DISCARDED: "c6b4d5b16e364884b66a08cf293af9a3",
    Code.MISSING_SOURCE: "d87eb9572a01484b9bcec6cd1993765b",
    Code.ROLLED_BACK: "08a3820b5dca78186481eacc057dca97",
    Code.REFUSED: "9fe010028bab0ddf556b2910cac2df91",
    Code.PENDING: "b228efd80cc725387ec975d9c94152b1",
    Code.ABSENT: "73abc8bb4511aa7602570ac5cbbec06c",
    Code.IGNORED: "8d16f65bf7911254ea840a2be104fb54",
    Code.NO_ADDRESS: "13d73362ea8f9795bec1857fd71306fa",
    Code.REPAIRS_LIMITED: "b69831f51a1d51f0fadb7283f701cc9c",
    Code.PAUSED: "2badb469ac8b4bd994bcea00b44fbf66",
    Code.OTHER: "c4c257d3c6571d7b1e85dbe5896b4b5c",
}

_OF_ERRORS: tuple[tuple[type[Ec2netError], Code], ...] = (
    (ImdsError, Code.IMDS),
    (KernelError, Code.KERNEL),
    (StateError, Code.STATE),
    (DeadlineExceeded, Code.DEADLINE),
    (PluginError, Code.PLUGIN),
    (ConfigError, Code.CONFIGURATION),
    (Unsupported, Code.UNSUPPORTED),
    (NotYet, Code.WAITING),
    (LinkGone, Code.LINK_GONE),
    (DoubleManagement, Code.OTHER_TOOL),
    (SharedTables, Code.SHARED_TABLE),
)


def code_of(error: BaseException) -> Code:
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), Code.OTHER)
