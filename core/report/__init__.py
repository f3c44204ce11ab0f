# SPDX-License-Identifier: Apache-2.0
"""What is said of a pass: status file, log lines, JSON, metrics, tables."""
