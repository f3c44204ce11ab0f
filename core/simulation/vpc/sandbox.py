# SPDX-License-Identifier: Apache-2.0
"""A private place for namespaces: other processes do not see it, and it ends with the process.

Root gets a new network and mount namespace. Other users get them inside a new user namespace in
which they are root. ``/run`` is an empty tmpfs there. Therefore ``ip netns add`` works, no D-Bus
service of the machine is reachable, and the state of the machine's own ec2net stays untouched.
"""

import ctypes
import os
import subprocess
from pathlib import Path

from ec2net.core.model.errors import Ec2netError

# include/uapi/linux/sched.h, include/uapi/linux/mount.h; os.unshare() is new in Python 3.12.
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_REC = 0x4000
MS_PRIVATE = 0x40000

_SWITCHES = (
    # The switches by which distributions forbid user namespaces, and the forbidding value.
    ("kernel/unprivileged_userns_clone", "0"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ("user/max_user_namespaces", "0"),
)

_libc = ctypes.CDLL(None, use_errno=True)
_entered = False


def enter() -> None:
    """Put this process, which must be single-threaded, into a sandbox. A second call does nothing.

    Raises ``Ec2netError`` where the kernel does not allow it. There is no way back.
    """
    global _entered
    if _entered:
        return
    if (threads := len(os.listdir("/proc/self/task"))) > 1:
        raise Ec2netError(
            f"this process has {threads} threads and cannot enter a network namespace of its own; "
            "the host is unchanged",
            remedy="run 'ec2net demo' as a command, or enter the sandbox before any thread starts",
        )
    _unshare()
    try:
        _mount("none", "/", "", MS_REC | MS_PRIVATE)
        _mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        Path("/run/netns").mkdir()
    except OSError as error:
        raise _refused(error) from error
    command = ["ip", "link", "set", "lo", "up"]
    try:
        subprocess.run(command, check=True, timeout=10, env=command_path())
    except FileNotFoundError as error:
        raise Ec2netError("there is no ip command", remedy="install iproute2") from error
    _entered = True


def command_path() -> dict[str, str]:
    """The environment for ``ip`` and ``nft``: an ordinary user's PATH often lacks /usr/sbin."""
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {**os.environ, "PATH": f"{path}:/usr/sbin:/sbin"}


def _unshare() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        try:
            _call("unshare", _libc.unshare(CLONE_NEWNS | CLONE_NEWNET))
        except PermissionError:
            pass  # root without CAP_SYS_ADMIN, as in most containers: try as an ordinary user
        else:
            return
    try:
        _call("unshare", _libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        raise _refused(error) from error


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _call(
        f"mount on {target}",
        _libc.mount(
            source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()
        ),
    )


def _call(what: str, result: int) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{what}: {os.strerror(errno)}")


def _refused(error: OSError) -> Ec2netError:
    for switch, forbids in _SWITCHES:
        try:
            value = Path("/proc/sys", switch).read_text().strip()
        except OSError:
            continue
        if value == forbids:
            remedy = f"run it as root; {switch.replace('/', '.')} is {value} here"
            break
    else:
        remedy = "run it as root, or where user namespaces are allowed"
    return Ec2netError(f"cannot make a private network namespace: {error.strerror}", remedy=remedy)
