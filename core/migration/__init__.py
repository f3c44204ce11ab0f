# SPDX-License-Identifier: Apache-2.0
"""`ec2net migrate` and `ec2net adopt`: what a host is, the plan that hands it over, the record
by which it is given back."""
