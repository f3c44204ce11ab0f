# SPDX-License-Identifier: Apache-2.0
"""The built-in backends; each is a plugin that uses the same door as a third party's."""
