# SPDX-License-Identifier: Apache-2.0
"""``python -m ec2net``."""

import sys

from ec2net.core.cli.main import main

sys.exit(main())
