"""What libraries want done around forks is left out, and done again where a charm may fork."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: A process that leaves a hook out, forks, and lets its child begin and fork once more.
PROGRAM = """
import os, random, sys
from bg_charm_service.workers.runtime import lean_forks

def say(word):
    sys.stdout.write(word + " ")
    sys.stdout.flush()

def forked(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    os.waitpid(pid, 0)

real = os.register_at_fork
with lean_forks.left_out():
    os.register_at_fork(before=lambda: say("hook"))
assert os.register_at_fork is real

def child():
    before = random.getstate()
    lean_forks.begin_child(may_fork=MAY_FORK)
    say("new" if random.getstate() != before else "same")
    forked(lambda: say("grandchild"))

forked(child)
"""


@pytest.mark.parametrize(
    ("may_fork", "expected"),
    [("False", ["new", "grandchild"]), ("True", ["new", "hook", "grandchild"])],
    ids=["cannot fork", "may fork"],
)
def test_hooks_count_where_a_worker_may_fork(may_fork: str, expected: list[str]) -> None:
    """The fork of a worker calls none of them; that of a charm does, and chance is new."""
    program = PROGRAM.replace("MAY_FORK", may_fork)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert expected == done.stdout.split()
