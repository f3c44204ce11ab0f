# SPDX-License-Identifier: Apache-2.0
"""Settings, kinds, schema, tree, files."""
