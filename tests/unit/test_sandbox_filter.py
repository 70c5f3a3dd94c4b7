"""The filter of system calls, run as the kernel runs it, for every kind of machine."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from bg_charm_service.workers.sandbox import rules
from bg_charm_service.workers.sandbox.seccomp import Instruction, program
from bg_charm_service.workers.sandbox.syscalls import MACHINES, NEWEST, number

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
DONE = ERRNO
EPERM, ENOSYS, EOPNOTSUPP = (ERRNO | each for each in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP))

#: The names of all calls that the rules say something about.
NAMED = (
    *(*rules.CHECKED, *rules.REFUSED, *rules.UNKNOWN, *rules.UNSUPPORTED),
    *(name for name in rules.DONE_NOTHING if name not in rules.CHECKED),
)

#: What the kernel puts into the place of the process id; any number that no rule names.
ME = 4242

#: Allowed and refused arguments of each call of which only some are allowed.
EXAMPLES: dict[str, tuple[list[Sequence[int]], list[Sequence[int]]]] = {
    "socket": (
        [(2, 1, 0), (10, 1 | 0o2004000, 6)],
        [(1, 1, 0), (16, 3, 0), (2, 2, 0), (2, 3, 1), (2, 1, 262), (2, 1, 132), (40, 1, 0)],
    ),
    "socketpair": ([(1, 1, 0), (1, 1 | 0o2000000, 0)], [(1, 2, 0), (1, 5, 0), (2, 1, 0)]),
    "sendto": ([(3, 0, 9, 0), (3, 0, 9, 0x4000)], [(3, 0, 9, 0x20000000), (3, 0, 9, 0x20004000)]),
    "sendmsg": ([(3, 0, 0)], [(3, 0, 0x20000000)]),
    "sendmmsg": ([(3, 0, 1, 0)], [(3, 0, 1, 0x20000000)]),
    "setsockopt": ([(3, 6, 1), (3, 1, 9)], [(3, 6, 31)]),
    "clone": ([(0x3D0F00,)], [(17,), (0x4111,), (0x3D0F00 | 0x10000000,), (0x40000000 | 17,)]),
    "kill": ([(ME, 9), (ME, 0)], [(1, 0), (0, 9), (0xFFFFFFFF, 9), (ME + 1, 0)]),
    "tkill": ([(ME, 6)], [(ME + 1, 6)]),
    "tgkill": ([(ME, ME + 1, 6)], [(ME + 1, ME + 1, 6)]),
    "prlimit64": ([(0, 7), (ME, 7)], [(1, 7)]),
    "sched_setaffinity": ([(0,), (ME,)], [(1,)]),
    "fcntl": ([(3, 1), (3, 6), (3, 1030)], [(3, 8), (3, 10), (3, 15), (3, 1024), (3, 1031)]),
    "ioctl": ([(3, 0x5401), (3, 0x5421)], [(3, 0x8901), (3, 0x5412), (3, 0x541C), (3, 0x40086602)]),
    "prctl": ([(15,), (3,)], [(1,), (4,), (22,), (35,), (36,), (0x59616D61,)]),
    "open": ([(0, 0), (0, 0o1101)], [(0, 0o1000), (0, 0o2001000)]),
    "openat": ([(0, 0, 0), (0, 0, 0o1102)], [(0, 0, 0o1000)]),
    "mmap": (
        [(0, 9, 3, 0x22), (0, 9, 1, 1), (0, 9, 3, 0x4022)],
        [(0, 9, 3, 0x21), (0, 9, 3, 0x23), (0, 9, 3, 0x122), (0, 9, 3, 0x102)],
    ),
}

machines = pytest.mark.parametrize("machine", MACHINES)


def verdict(machine: str, call: int, *arguments: int, arch: int | None = None) -> int:
    """Run the filter on a call."""
    steps = program(machine)
    data = {0: call, 4: MACHINES[machine].audit_arch if arch is None else arch}
    for index in range(6):
        value = arguments[index] if index < len(arguments) else 0
        data |= {16 + 8 * index: value & 0xFFFFFFFF, 20 + 8 * index: value >> 32}
    loaded = at = 0
    while True:
        step = steps[at]
        if step.code == 0x06:
            return step.constant
        loaded, skipped = run(step, loaded, data)
        at += 1 + skipped


def run(step: Instruction, loaded: int, data: dict[int, int]) -> tuple[int, int]:
    """Take one step; gives what is loaded then, and how many steps to skip."""
    constant = ME if step.constant == rules.OWN_PID else step.constant
    match step.code:
        case 0x20:
            return data[constant], 0
        case 0x54:
            return loaded & constant, 0
        case 0x05:
            return loaded, constant
        case 0x15:
            return loaded, step.if_true if loaded == constant else step.if_false
        case 0x35:
            return loaded, step.if_true if loaded >= constant else step.if_false
    raise AssertionError(f"no such step: {step}")


@machines
def test_every_refused_call_is_refused(machine: str) -> None:
    """Each call of the list is answered EPERM, whatever its arguments."""
    found = [(name, number(machine, name)) for name in rules.REFUSED]
    answers = {name: verdict(machine, call) for name, call in found if call is not None}

    assert dict.fromkeys(answers, EPERM) == answers
    assert len(answers) > 100


@machines
def test_some_calls_look_unknown(machine: str) -> None:
    """Some newer calls are answered as by an older kernel, so that callers do without."""
    calls = [number(machine, name) for name in rules.UNKNOWN]

    assert [ENOSYS, ENOSYS] == [verdict(machine, call) for call in calls if call is not None]


@machines
def test_attributes_look_unsupported(machine: str) -> None:
    """Reading extended attributes is answered as by a file system without any, in every way."""
    names = [
        *(f"{how}{what}xattr" for how in ("", "l", "f") for what in ("get", "list")),
        *("getxattrat", "listxattrat", "file_getattr"),
    ]
    calls = [number(machine, name) for name in names]

    assert [EOPNOTSUPP] * 9 == [verdict(machine, call) for call in calls if call is not None]


@machines
@pytest.mark.parametrize("mode", [0, 1, 3, 16])
def test_no_room_is_reserved(machine: str, mode: int) -> None:
    """Reserving room in a file, in any way, is answered as by a file system that cannot."""
    call = number(machine, "fallocate")
    assert call is not None

    assert EOPNOTSUPP == verdict(machine, call, 3, mode)


@machines
def test_calls_of_the_future_look_unknown(machine: str) -> None:
    """A call that did not exist when the rules were written is not allowed by them."""
    assert [ENOSYS, ENOSYS] == [verdict(machine, call) for call in (NEWEST + 1, 5000)]


@machines
def test_other_kinds_of_calls_end_the_process(machine: str) -> None:
    """Calls of a 32-bit program, which have other numbers, and of x32 cannot be made at all."""
    assert KILL == verdict(machine, 1, arch=0x40000003)
    assert KILL == verdict(machine, 0x40000000 | 1)


@machines
@pytest.mark.parametrize("name", rules.CHECKED)
def test_arguments_decide(machine: str, name: str) -> None:
    """Of a call that is many in one, what libraries need is allowed and what harms is refused.

    One that is to change nothing is answered as done instead.
    """
    call = number(machine, name)
    if call is None:
        pytest.skip(f"{machine} has no {name}")
    allowed, refused = EXAMPLES[name]

    answer = DONE if name in rules.DONE_NOTHING else ALLOW
    assert [answer] * len(allowed) == [verdict(machine, call, *each) for each in allowed]
    assert [EPERM] * len(refused) == [verdict(machine, call, *each) for each in refused]


@machines
def test_upper_halves_change_nothing(machine: str) -> None:
    """The filter reads of an argument what the kernel reads of it, and no more."""
    call = number(machine, "socket")
    assert call is not None

    assert EPERM == verdict(machine, call, (1 << 32) | 1, 1, 0)
    assert ALLOW == verdict(machine, call, (1 << 32) | 2, 1, 0)


@machines
def test_everything_else_is_allowed(machine: str) -> None:
    """Nothing is refused that the rules do not name: libraries find what they are used to."""
    named = {number(machine, name) for name in NAMED}
    others = [call for call in range(NEWEST + 1) if call not in named]

    assert {ALLOW} == {verdict(machine, call) for call in others}


def test_rules_name_each_call_once() -> None:
    """No call has two rules, of which one would be lost."""
    assert sorted(set(NAMED)) == sorted(NAMED)
