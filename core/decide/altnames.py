# SPDX-License-Identifier: Apache-2.0
"""The alternative names of an ENI's link: its id, and ``device-number-DEVICE.CARD``. Pure."""

from ec2net.core.config.settings import Altname, EniSettings
from ec2net.core.decide.addresses import value_of
from ec2net.core.model.facts import EniFacts
from ec2net.core.model.numbers import EniNumber


def altnames(eni: EniFacts, number: EniNumber, settings: EniSettings) -> tuple[str, ...]:
    eni_id = value_of(eni.interface_id)
    names = {
        Altname.ID: str(eni_id) if eni_id and eni_id.usual else None,
        Altname.DEVICE_NUMBER: f"device-number-{number.device}.{number.card}",
    }
    return tuple(name for form in settings.altnames if (name := names[form]) is not None)
