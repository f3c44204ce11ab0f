# SPDX-License-Identifier: Apache-2.0
"""The outcome of a pass, published: status file, log lines, JSON, metrics, layout of tables."""
