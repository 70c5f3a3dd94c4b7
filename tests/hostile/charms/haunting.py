"""Stays in its worker, to speak for the charms that run there next, and to take what they have."""

import gc
import json
import os
import stat
import threading
from typing import Any

import msgspec

from bg_charm_service.sdk import fields
from bg_charm_service.workers.protocol import messages as wire
from bg_charm_service.workers.runtime import worker
from tests.hostile.charms.hostile import Hostile, ends


def put(owner: object, name: str, value: object) -> None:
    """Assign on purpose: what a charm's file assigns in plain words is put back as an accident."""
    setattr(owner, name, value)


@ends("success")
def forge_answers(charm: Hostile) -> object:
    """Have the worker answer for others with what it wants them to say."""
    execute, mine = worker.Worker._execute, charm.context.charm_id

    def forged(self: worker.Worker, spec: wire.RunSpec) -> wire.Answer:
        answer = execute(self, spec)
        if spec.charm_id == mine:
            return answer
        return msgspec.structs.replace(answer, writes={"note": b'"forged"'}, failure=None)

    put(worker.Worker, "_execute", forged)
    return 1


@ends("success")
def answer_for_whoever_comes(charm: Hostile) -> object:
    """Answer for itself, and at once for every run that may lie behind it in its worker."""
    job_id = charm.context.job_id
    forged = {"note": b'"forged"'}
    mine = wire.Answer(charm.context.run_id, 0.001)
    others = [wire.Answer(f"{job_id + n}.1", 0.001, writes=forged) for n in range(1, 200)]
    connection = next(fd for fd in range(3, 64) if _is_socket(fd))
    os.write(connection, b"".join(map(wire.FROM_WORKER.encode, [mine, *others])))
    return threading.Event().wait()


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


@ends("success")
def forge_fields(charm: Hostile) -> object:
    """Have the worker store something else than others have written."""
    dump = fields.CharmField.dump

    def forged(self: fields.CharmField, value: Any) -> bytes:
        return b'"forged"' if self.name == "note" else dump(self, value)

    put(fields.CharmField, "dump", forged)
    return 1


@ends("success")
def forge_the_library(charm: Hostile) -> object:
    """Have a library tell others what it wants them to believe."""
    put(json, "loads", lambda *_, **__: "forged")
    return 1


@ends("success")
def rob_the_next(charm: Hostile) -> object:
    """Have the worker keep a copy of all that others are given, where it finds it again."""
    execute = worker.Worker._execute
    kept: list[str] = []
    put(fields, "planted", kept)

    def robbing(self: worker.Worker, spec: wire.RunSpec) -> wire.Answer:
        kept.append(repr(spec))
        return execute(self, spec)

    put(worker.Worker, "_execute", robbing)
    return 1


@ends("success")
def collect(charm: Hostile) -> object:
    """Give what was taken from others meanwhile."""
    return list(getattr(fields, "planted", []))


@ends("success")
def dig(charm: Hostile) -> object:
    """Look through all that is left in memory for what others had."""
    words = charm.target["words"]
    found = set()
    for one in gc.get_objects():
        values = one.values() if type(one) is dict else one if type(one) in (list, tuple) else ()
        found |= {str(each) for each in list(values) if type(each) in (str, bytes)}
    return [text for text in found if words in text and text != words]


@ends("success")
def leave_a_file(charm: Hostile) -> object:
    """Leave a word in a file, for whoever comes next."""
    return (charm.context.scratch / "word").write_text("a word")


@ends("success")
def find_files(charm: Hostile) -> object:
    """Look for what others left in files."""
    return os.listdir(charm.context.scratch)
