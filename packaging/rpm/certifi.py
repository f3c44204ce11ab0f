# SPDX-License-Identifier: Apache-2.0
"""The system's CA certificates under the name of the library that requests imports.

The rpm bundles no certificates: an administrator who distrusts an authority does so for the whole
host. ec2net itself uses no TLS; a plugin may.
"""

import ssl


def where() -> str:
    """A file, or a folder where the system has no file, as requests takes both."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or paths.openssl_cafile
