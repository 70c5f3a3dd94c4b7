"""Which system calls a sandboxed process may make: what is refused, and with which arguments.

A list of what is refused, so that libraries nobody thought of work; but calls that are many in
one (fcntl, ioctl, prctl) are held to a list of what is allowed. Data only; `seccomp` enforces it.
"""

from __future__ import annotations

from typing import NamedTuple

#: Stands in a check for the process id of the process that the filter is made for.
OWN_PID = -1

_WHOLE = 0xFFFFFFFF


class Check(NamedTuple):
    """What one argument may be: the lower 32 bits of it, under a mask.

    Either one of `allowed`, or none of `refused`. The kernel reads no more than these bits of any
    argument that is checked here.
    """

    argument: int
    allowed: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    mask: int = _WHOLE


_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_SOCK_TYPE_MASK, _SOCK_STREAM = 0xF, 1
_IPPROTO_TCP = 6
_TCP_ULP = 31
_MSG_FASTOPEN = 0x20000000

_CLONE_THREAD = 0x00010000
#: A new namespace of mounts, control groups, names, IPC, users, processes or network.
_CLONE_NAMESPACES = 0x00020000 | 0x02000000 | 0x7C000000

_O_ACCMODE, _O_RDONLY, _O_TRUNC = 0o3, 0o0, 0o1000
_MAP_TYPE, _MAP_PRIVATE, _MAP_ANONYMOUS, _MAP_GROWSDOWN = 0xF, 2, 0x20, 0x100

#: Of the modes to open a file in, all but "for reading, and truncate it".
_OPEN_MODES = tuple(
    mode | truncate
    for mode in range(_O_ACCMODE + 1)
    for truncate in (0, _O_TRUNC)
    if (mode, truncate) != (_O_RDONLY, _O_TRUNC)
)

_FCNTLS = (
    *range(8),  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW
    *(36, 37, 38),  # the same locks by open file
    *(1030, 1032, 1034),  # F_DUPFD_CLOEXEC, F_GETPIPE_SZ, F_GET_SEALS
)

_IOCTLS = (
    *(0x5401, 0x5413, 0x802C542A),  # TCGETS, TIOCGWINSZ, TCGETS2: is it a terminal, and how wide
    *(0x5411, 0x541B),  # TIOCOUTQ, FIONREAD: how much is waiting
    *(0x5421, 0x5450, 0x5451),  # FIONBIO, FIONCLEX, FIOCLEX
    *(0x8910, 0x8912, 0x8933),  # SIOCGIFNAME, SIOCGIFCONF, SIOCGIFINDEX
)

_PRCTLS = (
    *(2, 3, 21, 23, 30, 39, 42),  # those that only ask
    *(15, 16),  # PR_SET_NAME, PR_GET_NAME: of a thread
    *(29, 41),  # PR_SET_TIMERSLACK, PR_SET_THP_DISABLE
    *(0x53564D41, 0x41555856),  # PR_SET_VMA, PR_GET_AUXV
)

#: Calls of which only some are allowed; every check must hold.
CHECKED: dict[str, tuple[Check, ...]] = {
    # TCP only: what Landlock says of ports, it says of TCP.
    "socket": (
        Check(0, allowed=(_AF_INET, _AF_INET6)),
        Check(1, allowed=(_SOCK_STREAM,), mask=_SOCK_TYPE_MASK),
        Check(2, allowed=(0, _IPPROTO_TCP)),
    ),
    # Streams only: their ends stay with each other.
    "socketpair": (
        Check(0, allowed=(_AF_UNIX,)),
        Check(1, allowed=(_SOCK_STREAM,), mask=_SOCK_TYPE_MASK),
    ),
    # Connections are made by connect() alone, where Landlock looks at the port.
    "sendto": (Check(3, allowed=(0,), mask=_MSG_FASTOPEN),),
    "sendmsg": (Check(2, allowed=(0,), mask=_MSG_FASTOPEN),),
    "sendmmsg": (Check(3, allowed=(0,), mask=_MSG_FASTOPEN),),
    # A socket of TCP stays one.
    "setsockopt": (Check(2, refused=(_TCP_ULP,)),),
    # Threads, but no processes.
    "clone": (Check(0, allowed=(_CLONE_THREAD,), mask=_CLONE_THREAD | _CLONE_NAMESPACES),),
    # To itself, for abort().
    "kill": (Check(0, allowed=(OWN_PID,)),),
    "tkill": (Check(0, allowed=(OWN_PID,)),),
    "tgkill": (Check(0, allowed=(OWN_PID,)),),
    "prlimit64": (Check(0, allowed=(0, OWN_PID)),),
    "sched_setaffinity": (Check(0, allowed=(0, OWN_PID)),),
    # Not: signals to an owner, leases, the size of pipes, which all of a user's share.
    "fcntl": (Check(1, allowed=_FCNTLS),),
    # Not: signals to an owner, input for a terminal, attributes of files open for reading.
    "ioctl": (Check(1, allowed=_IOCTLS),),
    "prctl": (Check(0, allowed=_PRCTLS),),
    # Landlock before version 3 says nothing of truncating.
    "open": (Check(1, allowed=_OPEN_MODES, mask=_O_ACCMODE | _O_TRUNC),),
    "openat": (Check(2, allowed=_OPEN_MODES, mask=_O_ACCMODE | _O_TRUNC),),
    # Not shared memory without a file, nor a stack: the kernel's limit of memory counts neither.
    "mmap": (
        Check(
            3,
            allowed=(1, _MAP_PRIVATE, 3, _MAP_PRIVATE | _MAP_ANONYMOUS),
            mask=_MAP_TYPE | _MAP_ANONYMOUS | _MAP_GROWSDOWN,
        ),
    ),
}

#: Calls that are answered as by a kernel that does not know them: whoever calls does it otherwise.
#: Their arguments lie in memory, where no filter can look.
UNKNOWN = ("clone3", "openat2")

#: Calls that are answered as by a file system that has none of this. Landlock says nothing about
#: reading extended attributes (access lists, capabilities, labels, notes of programs) of any path.
#: Not EPERM: what copies files (shutil.copystat) goes on after "not supported" only.
#: `fallocate` reserves a disk within one call, and with a flag past the limit of a file's length.
#: The C library's `posix_fallocate` then writes a byte to each block, which every limit holds.
UNSUPPORTED = (
    *("getxattr", "lgetxattr", "fgetxattr", "getxattrat"),
    *("listxattr", "llistxattr", "flistxattr", "listxattrat"),
    "file_getattr",
    "fallocate",
)

#: Calls that are answered as done, where their checks hold, and change nothing. Of the first ones
#: Landlock says nothing and no filter can see a path, so they cannot be allowed for scratch alone;
#: and whoever copies a file (`shutil.copy`) or unpacks an archive takes a refusal for a failure.
#: Which processors a worker may use is the pool's to say, and libraries that bind their threads
#: take a refusal for one too.
DONE_NOTHING = (
    *("chmod", "fchmod", "fchmodat", "fchmodat2"),
    *("utime", "utimes", "futimesat", "utimensat"),
    "sched_setaffinity",
)

_NETWORK = "bind listen accept accept4"
_PROCESSES = "fork vfork execve execveat setpgid setsid"
_SIGNALS = "rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal"
_OTHER_PROCESSES = (
    "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd"
    " move_pages migrate_pages perf_event_open"
)
_OTHERS_SHARE = (
    "setpriority sched_setscheduler sched_setparam sched_setattr ioprio_set sync syncfs"
    " io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents"
    " inotify_init inotify_init1 inotify_add_watch fanotify_init fanotify_mark"
    " mq_open mq_unlink shmget shmat shmctl shmdt semget semop semctl semtimedop"
    " msgget msgsnd msgrcv msgctl add_key request_key keyctl"
)
# Landlock says nothing about these, and the owner of a file may make them.
_ATTRIBUTES = (
    "chown fchown lchown fchownat"
    " setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat"
    " file_setattr truncate mknod mknodat"
)
_PRIVILEGES = (
    "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset"
    " unshare setns chroot pivot_root mount umount2 open_tree open_tree_attr fsopen fsconfig"
    " fsmount fspick move_mount mount_setattr statmount listmount"
    " open_by_handle_at name_to_handle_at"
)
# What hides memory or work from those who watch, or is known for its holes.
_HOLES = (
    "memfd_create memfd_secret io_uring_setup io_uring_enter io_uring_register bpf userfaultfd"
    " seccomp personality modify_ldt iopl ioperm lsm_set_self_attr"
)
_MACHINE = (
    "init_module finit_module delete_module create_module query_module get_kernel_syms kexec_load"
    " kexec_file_load reboot swapon swapoff settimeofday clock_settime clock_adjtime adjtimex"
    " sethostname setdomainname vhangup lookup_dcookie syslog quotactl quotactl_fd acct nfsservctl"
    " _sysctl uselib"
)

#: Calls that are never allowed.
REFUSED = tuple(
    " ".join(
        (
            *(_NETWORK, _PROCESSES, _SIGNALS, _OTHER_PROCESSES, _OTHERS_SHARE),
            *(_ATTRIBUTES, _PRIVILEGES, _HOLES, _MACHINE),
        )
    ).split()
)
