"""The wall of system calls: a filter of the kernel's, put together from `rules`.

A filter is a program for a small machine of the kernel's (BPF) that sees a call's number and
arguments. It is made once and stamped with each process's own id. It can never be taken off.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterator
from typing import NamedTuple

from bg_charm_service.workers.sandbox import rules
from bg_charm_service.workers.sandbox.kernel import prctl
from bg_charm_service.workers.sandbox.syscalls import MACHINES, NEWEST, number

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2

_KILL = 0x80000000
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000

#: A call with this answer is skipped, and whoever made it sees a success.
_NO_ERROR = 0

#: Where the filter finds the call's number, the kind of machine, and the arguments.
_NUMBER_OFFSET, _ARCH_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16

#: From here on are the numbers of calls of another kind, x32.
_X32 = 0x40000000

_LOAD, _AND, _JUMP, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
_INSTRUCTION = struct.Struct("<HBBI")
_CONSTANT = struct.Struct("<I")
_CONSTANT_OFFSET = 4
_WHOLE = 0xFFFFFFFF


class Instruction(NamedTuple):
    """One step of a filter: what to do, how many steps to skip if true and if false, and with what.

    A constant of OWN_PID is filled in for each process.
    """

    code: int
    constant: int
    if_true: int = 0
    if_false: int = 0


Block = list[Instruction]


class Filter:
    """The filter for one kind of machine."""

    def __init__(self, machine: str) -> None:
        steps = program(machine)
        self._own_pid_offsets = [
            index * _INSTRUCTION.size + _CONSTANT_OFFSET
            for index, step in enumerate(steps)
            if step.constant == rules.OWN_PID
        ]
        code = b"".join(
            _INSTRUCTION.pack(step.code, step.if_true, step.if_false, step.constant & _WHOLE)
            for step in steps
        )
        # Made here, so that a forked process has nothing to do but to fill in its own id.
        self._code = ctypes.create_string_buffer(code, len(code))
        header = struct.pack("@HP", len(steps), ctypes.addressof(self._code))
        self._header = ctypes.create_string_buffer(header)

    def install(self, own_pid: int) -> None:
        """Put this thread, and those it starts, behind the filter; raises OSError.

        It must have given up gaining privileges before.
        """
        for offset in self._own_pid_offsets:
            _CONSTANT.pack_into(self._code, offset, own_pid)
        prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(self._header))


def program(machine: str) -> Block:
    """Put the rules together: another kind of machine ends the process, then a search by number."""
    arch = MACHINES[machine].audit_arch
    return [
        Instruction(_LOAD, _ARCH_OFFSET),
        Instruction(_EQUAL, arch, 1, 0),
        Instruction(_RETURN, _KILL),
        Instruction(_LOAD, _NUMBER_OFFSET),
        *_search(_sections(machine)),
    ]


def _sections(machine: str) -> list[tuple[int, Block]]:
    """What happens from each number on, up to the next, for all numbers that there are."""
    allow = [Instruction(_RETURN, _ALLOW)]
    refuse, unknown = _answer(errno.EPERM), _answer(errno.ENOSYS)
    done = _answer(_NO_ERROR)
    named = [
        (name, [*_checked(checks), *(done if name in rules.DONE_NOTHING else allow)])
        for name, checks in rules.CHECKED.items()
    ]
    named += [(name, refuse) for name in rules.REFUSED]
    named += [(name, unknown) for name in rules.UNKNOWN]
    named += [(name, _answer(errno.EOPNOTSUPP)) for name in rules.UNSUPPORTED]
    named += [(name, done) for name in rules.DONE_NOTHING if name not in rules.CHECKED]
    answers = {number(machine, name): answer for name, answer in named}
    sections: list[tuple[int, Block]] = []
    for each in range(NEWEST + 1):
        answer = answers.get(each, allow)
        if not sections or sections[-1][1] != answer:
            sections.append((each, answer))
    # A call that did not exist when the rules were written.
    return [*sections, (NEWEST + 1, unknown), (_X32, [Instruction(_RETURN, _KILL)])]


def _search(sections: list[tuple[int, Block]]) -> Block:
    """Find a number's section by halves, in few steps."""
    if len(sections) == 1:
        return sections[0][1]
    middle = len(sections) // 2
    lower, upper = _search(sections[:middle]), _search(sections[middle:])
    # A conditional jump reaches 255 steps, a plain one any number.
    return [
        Instruction(_AT_LEAST, sections[middle][0], 0, 1),
        Instruction(_JUMP, len(lower)),
        *lower,
        *upper,
    ]


def _checked(checks: tuple[rules.Check, ...]) -> Iterator[Instruction]:
    """Go on past the end when every check holds, refuse the call otherwise."""
    for check in checks:
        yield Instruction(_LOAD, _ARGUMENTS_OFFSET + 8 * check.argument)
        if check.mask != _WHOLE:
            yield Instruction(_AND, check.mask)
        values = check.allowed or check.refused
        for index, value in enumerate(values):
            yield Instruction(_EQUAL, value, len(values) - index, 0)
        if check.refused:
            yield Instruction(_JUMP, 1)
        yield from _answer(errno.EPERM)


def _answer(number_of_error: int) -> Block:
    return [Instruction(_RETURN, _ERRNO | number_of_error)]
