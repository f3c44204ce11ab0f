# SPDX-License-Identifier: Apache-2.0
"""The command ``record``: observations as JSON, their redaction, and plans from a record."""
