"""Which system calls a sandboxed process may not make: a seccomp filter, assembled by hand.

The filter is a classic BPF program (``seccomp(2)``, ``linux/filter.h``). It lets everything pass
but what is named here: no other process, thread or namespace, no signal, no socket, no mount,
nothing that looks into another process or talks to parts of the kernel that a calculation has no
use for, and no memory that ``RLIMIT_AS`` does not count (System V and POSIX queues, memfd). A call
that is refused fails with ``EPERM``; one of another architecture kills the process.

Without processes and threads of its own a program cannot outlive its time: it is one process,
whose memory and processor time its limits count in full.
"""

from __future__ import annotations

import errno
import platform
import struct

from qstar_core.errors import UserError

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""``AUDIT_ARCH_*`` of ``linux/audit.h``, by the name that ``uname -m`` gives."""
X32 = 0x40000000
"""Bit of the system calls of x86_64's second, 32-bit ABI."""

PROCESSES = {
    "x86_64": {"clone": 56, "fork": 57, "vfork": 58, "clone3": 435},
    "aarch64": {"clone": 220, "clone3": 435},
}
REFUSED = {
    "x86_64": {
        "shmget": 29,
        "shmat": 30,
        "shmctl": 31,
        "socket": 41,
        "socketpair": 53,
        "kill": 62,
        "semget": 64,
        "msgget": 68,
        "ptrace": 101,
        "syslog": 103,
        "rt_sigqueueinfo": 129,
        "uselib": 134,
        "personality": 135,
        "modify_ldt": 154,
        "pivot_root": 155,
        "adjtimex": 159,
        "chroot": 161,
        "acct": 163,
        "settimeofday": 164,
        "mount": 165,
        "umount2": 166,
        "swapon": 167,
        "swapoff": 168,
        "reboot": 169,
        "sethostname": 170,
        "setdomainname": 171,
        "iopl": 172,
        "ioperm": 173,
        "init_module": 175,
        "delete_module": 176,
        "quotactl": 179,
        "tkill": 200,
        "lookup_dcookie": 212,
        "clock_settime": 227,
        "tgkill": 234,
        "mbind": 237,
        "set_mempolicy": 238,
        "get_mempolicy": 239,
        "mq_open": 240,
        "kexec_load": 246,
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "migrate_pages": 256,
        "unshare": 272,
        "vmsplice": 278,
        "move_pages": 279,
        "rt_tgsigqueueinfo": 297,
        "perf_event_open": 298,
        "fanotify_init": 300,
        "name_to_handle_at": 303,
        "open_by_handle_at": 304,
        "clock_adjtime": 305,
        "setns": 308,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "kcmp": 312,
        "finit_module": 313,
        "memfd_create": 319,
        "kexec_file_load": 320,
        "bpf": 321,
        "userfaultfd": 323,
    },
    "aarch64": {
        "lookup_dcookie": 18,
        "umount2": 39,
        "mount": 40,
        "pivot_root": 41,
        "chroot": 51,
        "quotactl": 60,
        "vmsplice": 75,
        "acct": 89,
        "personality": 92,
        "unshare": 97,
        "kexec_load": 104,
        "init_module": 105,
        "delete_module": 106,
        "clock_settime": 112,
        "syslog": 116,
        "ptrace": 117,
        "kill": 129,
        "tkill": 130,
        "tgkill": 131,
        "rt_sigqueueinfo": 138,
        "reboot": 142,
        "sethostname": 161,
        "setdomainname": 162,
        "settimeofday": 170,
        "adjtimex": 171,
        "mq_open": 180,
        "msgget": 186,
        "semget": 190,
        "shmget": 194,
        "shmctl": 195,
        "shmat": 196,
        "socket": 198,
        "socketpair": 199,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "swapon": 224,
        "swapoff": 225,
        "mbind": 235,
        "get_mempolicy": 236,
        "set_mempolicy": 237,
        "migrate_pages": 238,
        "move_pages": 239,
        "rt_tgsigqueueinfo": 240,
        "perf_event_open": 241,
        "fanotify_init": 262,
        "name_to_handle_at": 264,
        "open_by_handle_at": 265,
        "clock_adjtime": 266,
        "setns": 268,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "kcmp": 272,
        "finit_module": 273,
        "memfd_create": 279,
        "bpf": 280,
        "userfaultfd": 282,
        "kexec_file_load": 294,
    },
}
SAME_EVERYWHERE = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
    "statmount": 457,
    "listmount": 458,
}
"""Newer calls have one number on all architectures."""
UNCONFINED = {
    "x86_64": {
        "execve": 59,
        "truncate": 76,
        "rename": 82,
        "mkdir": 83,
        "rmdir": 84,
        "creat": 85,
        "link": 86,
        "unlink": 87,
        "symlink": 88,
        "chmod": 90,
        "fchmod": 91,
        "chown": 92,
        "fchown": 93,
        "lchown": 94,
        "utime": 132,
        "mknod": 133,
        "setpriority": 141,
        "sched_setparam": 142,
        "sched_setscheduler": 144,
        "setxattr": 188,
        "lsetxattr": 189,
        "fsetxattr": 190,
        "removexattr": 197,
        "lremovexattr": 198,
        "fremovexattr": 199,
        "sched_setaffinity": 203,
        "utimes": 235,
        "ioprio_set": 251,
        "mkdirat": 258,
        "mknodat": 259,
        "fchownat": 260,
        "futimesat": 261,
        "unlinkat": 263,
        "renameat": 264,
        "linkat": 265,
        "symlinkat": 266,
        "fchmodat": 268,
        "utimensat": 280,
        "prlimit64": 302,
        "sched_setattr": 314,
        "renameat2": 316,
        "execveat": 322,
    },
    "aarch64": {
        "setxattr": 5,
        "lsetxattr": 6,
        "fsetxattr": 7,
        "removexattr": 14,
        "lremovexattr": 15,
        "fremovexattr": 16,
        "ioprio_set": 30,
        "mknodat": 33,
        "mkdirat": 34,
        "unlinkat": 35,
        "symlinkat": 36,
        "linkat": 37,
        "renameat": 38,
        "truncate": 45,
        "fchmod": 52,
        "fchmodat": 53,
        "fchownat": 54,
        "fchown": 55,
        "utimensat": 88,
        "sched_setparam": 118,
        "sched_setscheduler": 119,
        "sched_setaffinity": 122,
        "setpriority": 140,
        "execve": 221,
        "prlimit64": 261,
        "sched_setattr": 274,
        "renameat2": 276,
        "execveat": 281,
    },
}
"""What is refused as well where no mount namespace hides the machine's files and processes."""
UNCONFINED_EVERYWHERE = {
    "pidfd_open": 434,
    "openat2": 437,
    "fchmodat2": 452,
}
OPEN = {"x86_64": ((2, 1), (257, 2)), "aarch64": ((56, 2),)}
"""(number, index of the argument with the flags) of open and openat."""
WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND."""

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000


def assemble(*, files: bool = True) -> bytes:
    """The filter for this machine's architecture.

    Args:
        files: whether it may change files and exec; False where nothing else keeps it from the
            machine's own.

    Raises:
        UserError: there is no filter for this architecture.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise UserError(
            f"generated code cannot be run: there is no system call filter for {machine}",
            next_step=f"grade code on one of {', '.join(ARCHITECTURES)}",
        )
    refused = {**REFUSED[machine], **PROCESSES[machine], **SAME_EVERYWHERE}
    if not files:
        refused |= UNCONFINED[machine] | UNCONFINED_EVERYWHERE
    lines = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, ARCHITECTURES[machine]), (RETURN, 0, 0, KILL)]
    lines.append((LOAD, 0, 0, 0))
    if machine == "x86_64":
        lines += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, REFUSE | errno.EPERM)]
    for name, number in refused.items():
        # glibc takes clone only where there is no clone3
        code = errno.ENOSYS if name == "clone3" else errno.EPERM
        lines += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE | code)]
    for number, place in () if files else OPEN[machine]:
        lines += [(EQUAL, 0, 4, number), (LOAD, 0, 0, 16 + 8 * place), (ANY_BIT, 0, 1, WRITING)]
        lines += [(RETURN, 0, 0, REFUSE | errno.EPERM), (RETURN, 0, 0, ALLOW)]
    lines.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *line) for line in lines)
