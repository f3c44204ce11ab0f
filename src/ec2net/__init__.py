"""ec2net configures every network interface (ENI) of an EC2 instance.

``core`` and ``backends`` beside this file are links to the folders of the same
name at the top of the checkout: drop ``ec2net.`` from a module and you have its path.
"""

__version__ = "0.1.0"
