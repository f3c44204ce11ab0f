# SPDX-License-Identifier: Apache-2.0
"""The command ``record``: what was observed as JSON, redacted, and planned from again."""
