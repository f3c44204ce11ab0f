# SPDX-License-Identifier: Apache-2.0
"""The configuration: settings with their defaults, kinds of values, schema, tree, files."""
