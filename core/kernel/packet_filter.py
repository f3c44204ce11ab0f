# SPDX-License-Identifier: Apache-2.0
"""A filter of the kernel before a socket's queue (classic BPF, Documentation/networking/filter.rst).

A message that it drops wakes no process.
"""

import array
import socket
import struct
from dataclasses import dataclass

# include/uapi/linux/bpf_common.h and include/uapi/asm-generic/socket.h
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_SO_ATTACH_FILTER = 26
_ALL = 0xFFFFFFFF
"""The return value that accepts the whole message; 0 drops it."""


@dataclass(frozen=True, slots=True)
class Word:
    """A condition: the 32 bits at this offset, in network order, have this value."""

    offset: int
    value: int
    otherwise_accept: bool = False
    """Accept a message that does not fulfil it, instead of dropping it."""


def attach(to: socket.socket, *words: Word) -> None:
    """Accept messages that fulfil all conditions, in this order. Raises ``OSError``."""
    end = 2 * len(words)  # where all conditions are fulfilled; the next instruction drops
    program = b""
    for number, word in enumerate(words):
        here = 2 * number + 2
        program += _instruction(_LOAD_WORD, word.offset)
        unequal = end - here if word.otherwise_accept else end + 1 - here
        program += _instruction(_JUMP_IF_EQUAL, word.value, unequal=unequal)
    program += _instruction(_RETURN, _ALL) + _instruction(_RETURN, 0)
    kept = array.array("B", program)
    count, address = len(program) // 8, kept.buffer_info()[0]
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", count, address))


def _instruction(code: int, value: int, *, unequal: int = 0) -> bytes:
    """struct sock_filter: an equal value goes on with the next instruction."""
    return struct.pack("=HBBI", code, 0, unequal, value)
