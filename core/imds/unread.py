# SPDX-License-Identifier: Apache-2.0
"""What IMDS should have told and did not, as one problem for people. Pure."""

from dataclasses import fields

from ec2net.core.model.errors import ImdsError
from ec2net.core.model.facts import ImdsFacts, Unknown


def unread(imds: ImdsFacts) -> tuple[ImdsError, ...]:
    """One problem for all that IMDS did not tell this time, whatever stands in for it.

    Keys that it has not got yet are no fault: such an ENI is pending, and says so itself.
    """
    readings = [imds.primary, imds.listed]
    readings += [getattr(eni, f.name) for eni in imds.enis for f in fields(eni) if f.name != "mac"]
    reasons = {r.reason for r in readings if isinstance(r, Unknown) and not r.settling}
    if not reasons:
        return ()
    return (
        ImdsError(
            f"IMDS could not be read completely: {'; '.join(sorted(reasons)[:3])}",
            remedy="the last known values stand",
        ),
    )
