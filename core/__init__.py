# SPDX-License-Identifier: Apache-2.0
"""The program: a folder for each step of the flow. Exports nothing, so that it costs nothing."""
