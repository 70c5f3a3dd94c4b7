"""Stays in its worker, to speak for the charms that run there next, and to take what they have."""

import gc
import os
import sys
from typing import Any

import msgspec

from bg_charm_service import wire, worker
from tests.hostile.charms.hostile import Hostile, ends


@ends("success")
def forge_answers(charm: Hostile) -> object:
    """Have the worker answer for others with what it wants them to say."""
    execute = worker.Worker._execute

    def forged(self: worker.Worker, spec: wire.RunSpec) -> wire.Answer:
        answer = execute(self, spec)
        return msgspec.structs.replace(answer, writes={"note": b'"forged"'}, failure=None)

    worker.Worker._execute = forged  # type: ignore[method-assign]
    return 1


@ends("success")
def forge_the_library(charm: Hostile) -> object:
    """Have the library that every charm uses write something else."""
    encode = msgspec.json.encode

    def forged(value: Any, **options: Any) -> bytes:
        return b'"forged"' if isinstance(value, str) else encode(value, **options)

    for module in list(sys.modules.values()):
        if getattr(getattr(module, "msgspec", None), "json", None) is msgspec.json:
            msgspec.json.encode = forged
    return 1


@ends("success")
def rob_the_next(charm: Hostile) -> object:
    """Have the worker keep a copy of all that others are given, where it finds it again."""
    execute = worker.Worker._execute
    kept: list[str] = []
    sys.modules["planted"] = kept  # type: ignore[assignment]

    def robbing(self: worker.Worker, spec: wire.RunSpec) -> wire.Answer:
        kept.append(repr(spec))
        return execute(self, spec)

    worker.Worker._execute = robbing  # type: ignore[method-assign]
    return 1


@ends("success")
def collect(charm: Hostile) -> object:
    """Give what was taken from others meanwhile."""
    return list(sys.modules.get("planted", []))


@ends("success")
def dig(charm: Hostile) -> object:
    """Look through all that is left in memory for what others had."""
    found = {repr(one) for one in gc.get_objects() if isinstance(one, dict | list | tuple)}
    return [text for text in found if charm.target["words"] in text][:5]


@ends("success")
def dig_in_files(charm: Hostile) -> object:
    """Look through all that is left in files for what others had."""
    folder = charm.context.scratch
    return [(folder / name).read_text() for name in os.listdir(folder)]
