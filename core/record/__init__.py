# SPDX-License-Identifier: Apache-2.0
"""`ec2net record`: what was observed as JSON, redacted, and planned from again."""
