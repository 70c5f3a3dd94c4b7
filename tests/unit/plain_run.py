"""One run as a worker is given it, for tests to which most of its members do not matter.

`msgspec.structs.replace` makes one with others.
"""

from __future__ import annotations

from typing import Final

from bg_charm_service.domain.limits import Limits
from bg_charm_service.workers.protocol.messages import RunSpec

RUN: Final = RunSpec(
    run_id="1.1",
    job_id=1,
    attempt=1,
    space="did:key:here",
    charm_id="charm",
    source_hash="hash",
    source=None,
    file_name="some.py",
    class_name="Some",
    stream="bgUpdater",
    event=b"{}",
    values={},
    large=(),
    links={},
    last_success=None,
    limits=Limits(),
)
