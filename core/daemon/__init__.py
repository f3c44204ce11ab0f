# SPDX-License-Identifier: Apache-2.0
"""The command ``run``: loop, schedule, state of each ENI, events, watchdog."""
