# SPDX-License-Identifier: Apache-2.0
"""The Instance Metadata Service: where it answers, one bounded client, its keys as typed facts."""
