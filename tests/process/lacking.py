"""Machines that lack a wall, made from this one: some system calls do not exist there.

A program in between takes the calls away, as a container's or a unit's filter does, and then
becomes the Python that was to be started.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.process.running import Runner

#: What makes a ruleset of Landlock; its number is the same on every kind of machine.
LANDLOCK = (444,)

_PROGRAM = """\
#!{python}
import ctypes, os, struct, sys
LOAD, IF_EQUAL, RETURN, ALLOW, NO_SUCH_CALL = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050026
steps = [(LOAD, 0, 0, 0)]
for number in {numbers}:
    steps += [(IF_EQUAL, 0, 1, number), (RETURN, 0, 0, NO_SUCH_CALL)]
steps.append((RETURN, 0, 0, ALLOW))
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None)
no_new_privileges, filter_calls, mode = 38, 22, 2
assert 0 == libc.prctl(no_new_privileges, 1, 0, 0, 0)
assert 0 == libc.prctl(filter_calls, mode, ctypes.create_string_buffer(program), 0, 0)
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


def machine_without(numbers: tuple[int, ...], folder: Path) -> Runner:
    """Give what starts a service on a machine without these system calls."""
    program = folder / "python-without-calls"
    program.write_text(_PROGRAM.format(python=sys.executable, numbers=numbers))
    program.chmod(0o755)
    return Runner(python=str(program))
