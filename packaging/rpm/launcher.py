#!/usr/bin/python3.11 -sP
# SPDX-License-Identifier: Apache-2.0
"""The command ``ec2net`` with the libraries of its package, whatever else is installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib/ec2net/python"))

from ec2net.core.cli.main import main

sys.exit(main())
