# SPDX-License-Identifier: Apache-2.0
"""The command line: grammar, one module for each command (``commands/``), pictures."""
