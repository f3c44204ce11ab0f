# SPDX-License-Identifier: Apache-2.0
"""A program of XDP that passes every packet, attached to a link in this network namespace.

By bpf(2) and rtnetlink, since no compiler or loader is needed for two instructions.
"""

import ctypes
import os
import platform
import socket
import struct

_SYSCALLS = {"x86_64": 321, "aarch64": 280}
_BPF_PROG_LOAD, _BPF_PROG_TYPE_XDP = 5, 6
_PASS = 2
_PROGRAM = struct.pack("=BBhi", 0xB7, 0, 0, _PASS) + struct.pack("=BBhi", 0x95, 0, 0, 0)
"""r0 = XDP_PASS; exit (Documentation/bpf/standardization/instruction-set.rst)."""
_RTM_SETLINK, _REQUEST_WITH_ACK = 19, 5
_IFLA_XDP, _IFLA_XDP_FD, _IFLA_XDP_FLAGS, _NESTED = 43, 1, 3, 1 << 15
_DRIVER_MODE = 1 << 2
"""XDP_FLAGS_DRV_MODE: in the driver, which then limits the MTU."""


def attach(link: str) -> None:
    """Raises ``OSError``."""
    program = _loaded()
    try:
        nested = _attribute(_IFLA_XDP_FD, struct.pack("=i", program))
        nested += _attribute(_IFLA_XDP_FLAGS, struct.pack("=I", _DRIVER_MODE))
        body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(link), 0, 0)
        body += _attribute(_IFLA_XDP | _NESTED, nested)
        _send(struct.pack("=IHHII", 16 + len(body), _RTM_SETLINK, _REQUEST_WITH_ACK, 1, 0) + body)
    finally:
        os.close(program)


def _loaded() -> int:
    """The descriptor of the program."""
    code = ctypes.create_string_buffer(_PROGRAM, len(_PROGRAM))
    license_ = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "=IIQQ", _BPF_PROG_TYPE_XDP, 2, ctypes.addressof(code), ctypes.addressof(license_)
    )
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    libc = ctypes.CDLL(None, use_errno=True)
    number = _SYSCALLS[platform.machine()]
    descriptor: int = libc.syscall(number, _BPF_PROG_LOAD, buffer, 128)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), f"bpf(2): {os.strerror(ctypes.get_errno())}")
    return descriptor


def _attribute(number: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), number) + value


def _send(request: bytes) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(request)
        code = -struct.unpack_from("=i", kernel.recv(65536), 16)[0]
        if code:
            raise OSError(code, os.strerror(code))
