# SPDX-License-Identifier: Apache-2.0
"""IMDS's text to facts: where IMDS answers, one bounded client, each key as a value, absent (404)
or unknown.
"""
