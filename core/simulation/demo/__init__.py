# SPDX-License-Identifier: Apache-2.0
"""The command ``demo``: the real program in the simulated VPC, with checks that can fail.

``script`` is what is shown, as data; ``stage`` is where it happens; ``checks`` decide the ticks;
``screen`` prints; ``show`` goes through the script.
"""
