# SPDX-License-Identifier: Apache-2.0
"""The commands, a module each: ``run`` and the text that it prints. Imported when given."""
