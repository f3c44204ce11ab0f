# SPDX-License-Identifier: Apache-2.0
"""The simulated VPC (``vpc/``) and the demo in it (``demo/``)."""
