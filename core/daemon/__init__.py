# SPDX-License-Identifier: Apache-2.0
"""The command ``run``: loop, when IMDS is polled, state of each ENI, events, watchdog."""
