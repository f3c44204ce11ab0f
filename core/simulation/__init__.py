# SPDX-License-Identifier: Apache-2.0
"""A VPC in network namespaces (`vpc/`), and the demo in it (`demo/`)."""
