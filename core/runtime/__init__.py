# SPDX-License-Identifier: Apache-2.0
"""The process: deadline, signals, commands, files, log, clock, progress line."""
