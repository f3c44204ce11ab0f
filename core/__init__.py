# SPDX-License-Identifier: Apache-2.0
"""The engine: observe, compute, plan, apply, verify. Exports nothing, so that it costs nothing."""
