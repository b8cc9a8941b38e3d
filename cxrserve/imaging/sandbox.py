"""Linux sandbox of a decode worker: no new privileges, Landlock, seccomp.

Decoders are C libraries that read hostile bytes. A worker that such bytes have taken over must not reach the
service's secrets, the archive, the network or another program. So it gives up what it never needs, after its
imports and before the first byte of a file:

- `no_new_privs` (prctl(2)): no program that it starts could gain rights.
- Landlock (landlock(7)): files may be read below Python's and the system's library folders, and nowhere else;
  nothing may be written; no TCP; no signal to another process.
- seccomp (seccomp(2)): system calls that open sockets, start programs, trace or read other processes, change
  their limits or load code into the kernel fail with EPERM.

All three work without privileges, also in Docker's and Kubernetes' default profiles. Where the kernel lacks
one, `enter` reports which, and the others still hold.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from dataclasses import dataclass
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2

# landlock(7). The syscall numbers are the same on every architecture.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3

# Folders that imports, the loader and the C library may still read from.
_READABLE: Final = (
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
    "/dev/null",
    "/dev/urandom",
)


# Denied system calls and their numbers on x86_64 and aarch64 (unistd.h); None where there is no such call.
_DENIED: Final[dict[str, tuple[int | None, int | None]]] = {
    # network
    "socket": (41, 198),
    "connect": (42, 203),
    "accept": (43, 202),
    "bind": (49, 200),
    "listen": (50, 201),
    "socketpair": (53, 199),
    "accept4": (288, 242),
    # programs and processes; clone is limited to threads below
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # signals to others; tgkill is limited to this process below
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "process_mrelease": (448, 448),
    # memory, priorities and processors of others
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    "setpriority": (141, 140),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # mounts and namespaces
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "mount": (165, 40),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # the kernel
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "finit_module": (313, 273),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Architecture:
    """One architecture: its audit number, calls filtered by argument, its column of `_DENIED`."""

    audit: int
    clone: int
    clone3: int
    tgkill: int
    prlimit64: int
    column: int


_ARCHITECTURES: Final = {
    "x86_64": _Architecture(audit=0xC000003E, clone=56, clone3=435, tgkill=234, prlimit64=302, column=0),
    "aarch64": _Architecture(audit=0xC00000B7, clone=220, clone3=435, tgkill=131, prlimit64=261, column=1),
}

_EPERM: Final = 0x00050000 | 1  # SECCOMP_RET_ERRNO
_ENOSYS: Final = 0x00050000 | 38
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_CLONE_THREAD: Final = 0x00010000

_libc: Final = ctypes.CDLL(None, use_errno=True)


def enter() -> tuple[str, ...]:
    """Give up every right that a decode worker does not need. Cannot be undone.

    Returns:
        The parts that could not be had here, each as a short reason; empty where all hold.
    """
    if not sys.platform.startswith("linux"):
        return (f"no sandbox on {sys.platform}",)
    missing: list[str] = []
    for step in (_no_new_privileges, _landlock, _seccomp):
        try:
            step()
        except OSError as error:
            missing.append(f"{step.__name__.strip('_').replace('_', ' ')}: {error.strerror}")
    return tuple(missing)


def hide_memory() -> None:
    """Close this process's environment and memory to other processes of the same user, and its core files.

    For the service, which holds secrets that its decode workers must not read (prctl(2), PR_SET_DUMPABLE).
    """
    if sys.platform.startswith("linux"):
        _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _no_new_privileges() -> None:
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _os_error()


def _landlock() -> None:
    abi = _syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)  # LANDLOCK_CREATE_RULESET_VERSION
    files = (1 << 13) - 1
    for bit, since in ((13, 2), (14, 3), (15, 5)):  # refer, truncate, ioctl
        files |= (abi >= since) << bit
    network = 3 if abi >= 4 else 0  # bind and connect by TCP
    scoped = 3 if abi >= 6 else 0  # abstract UNIX sockets, signals
    ruleset = struct.pack("<QQQ", files, network, scoped)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    descriptor = _syscall(_LANDLOCK_CREATE_RULESET, ruleset, len(ruleset), 0)
    try:
        for path in dict.fromkeys((sys.prefix, sys.base_prefix, *_package_folders(), *_READABLE)):
            _allow_reading(descriptor, path)
        _syscall(_LANDLOCK_RESTRICT_SELF, descriptor, 0)
    finally:
        os.close(descriptor)


def _package_folders() -> list[str]:
    """Folders that modules are imported from; of an editable install, this package's alone."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    site = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    return [package, *site]


def _allow_reading(ruleset: int, path: str) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rights = _READ_FILE | _READ_DIR if os.path.isdir(path) else _READ_FILE
        # struct landlock_path_beneath_attr is packed.
        _syscall(_LANDLOCK_ADD_RULE, ruleset, 1, struct.pack("<Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _seccomp() -> None:
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise OSError(38, f"unknown on {platform.machine()}")
    program = b"".join(struct.pack("<HBBI", *instruction) for instruction in _filter(architecture))
    instructions = ctypes.create_string_buffer(program)

    class SockFprog(ctypes.Structure):
        """struct sock_fprog."""

        _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    prog = SockFprog(len(program) // 8, ctypes.addressof(instructions))
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(prog), 0, 0) != 0:
        raise _os_error()


_Instruction = tuple[int, int, int, int]  # struct sock_filter: code, jump if true, jump if false, operand
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENT_0 = 0, 4, 16  # offsets in struct seccomp_data; low half of the first argument


def _filter(architecture: _Architecture) -> list[_Instruction]:
    """The filter as classic BPF: deny by number, and three calls by their first argument."""
    lines: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, 0x40000000),  # x32's numbers, another name for the same calls
        (_RETURN, 0, 0, _KILL),
    ]
    # clone may make threads, not processes; clone3 hides its flags, and the C library does without it.
    lines += _if_call(architecture.clone3, [(_RETURN, 0, 0, _ENOSYS)])
    threads_only = [
        (_LOAD, 0, 0, _ARGUMENT_0),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    lines += _if_call(architecture.clone, threads_only)
    lines += _if_call(architecture.tgkill, _first_argument_is(os.getpid()))  # abort(3) signals itself
    lines += _if_call(architecture.prlimit64, _first_argument_is(0))  # 0: itself
    for numbers in _DENIED.values():
        number = numbers[architecture.column]
        if number is not None:
            lines += _if_call(number, [(_RETURN, 0, 0, _EPERM)])
    return [*lines, (_RETURN, 0, 0, _ALLOW)]


def _if_call(number: int, then: list[_Instruction]) -> list[_Instruction]:
    return [(_EQUAL, 0, len(then), number), *then]


def _first_argument_is(value: int) -> list[_Instruction]:
    return [
        (_LOAD, 0, 0, _ARGUMENT_0),
        (_EQUAL, 1, 0, value),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise _os_error()
    return result


def _os_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


if __name__ == "__main__":  # `cxrserve doctor` asks for it in a process that may be closed in
    print("; ".join(enter()))  # noqa: T201
