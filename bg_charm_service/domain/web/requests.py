"""The HTTP requests of one run, as its client tells of them: nothing of a query, a header, a body.

The values that a worker answers with, that are stored with the run, and that are shown. What a
worker says of them is bounded by `workers/protocol/messages.py`, and redacted where a run is
settled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Annotated, Final

import msgspec
from msgspec import Meta

#: Of a run so many requests are kept: the first ones, and as many of the last ones.
KEPT_AT_EACH_END: Final = 100
MOST_REQUESTS: Final = 2 * KEPT_AT_EACH_END

#: So much is kept of the names in a request, in characters.
METHOD_CHARACTERS: Final = 20
HOST_CHARACTERS: Final = 255
PATH_CHARACTERS: Final = 300

#: A worker tells more of a path, so that a secret in it is whole when it is looked for.
TOLD_PATH_CHARACTERS: Final = 2000

#: The fault of a request that was under way when its run was over.
UNFINISHED: Final = "unfinished"

_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Milliseconds = Annotated[float, Meta(ge=0.0, le=1e12)]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request that went out, or tried to.

    `number` counts those of the run, from 1; `attempt` the tries of this one. `status` is 0 where
    no answer came; `fault` names what went wrong then, or behind the head of an answer.
    `received_bytes` is what the body took on the way, `duration_ms` until its end.
    """

    number: _Count
    method: Annotated[str, Meta(max_length=METHOD_CHARACTERS)]
    host: Annotated[str, Meta(max_length=HOST_CHARACTERS)]
    path: Annotated[str, Meta(max_length=TOLD_PATH_CHARACTERS)]
    status: Annotated[int, Meta(ge=0, le=999)]
    duration_ms: _Milliseconds
    received_bytes: _Count
    attempt: _Count = 1
    fault: Annotated[str, Meta(max_length=100)] = ""


def pack_requests(requests: Sequence[HttpRequest]) -> str:
    """Write requests as one line of JSON."""
    return msgspec.json.encode([astuple(one) for one in requests]).decode()


def unpack_requests(text: str) -> tuple[HttpRequest, ...]:
    """Read what `pack_requests` wrote."""
    return tuple(HttpRequest(*row) for row in msgspec.json.decode(text))


def shown_requests(
    requests: Sequence[HttpRequest], shown: Callable[[str], str]
) -> tuple[HttpRequest, ...]:
    """Give requests with what `shown` leaves of their texts."""
    return tuple(
        replace(
            one,
            method=shown(one.method),
            host=shown(one.host)[:HOST_CHARACTERS],
            path=short_path(shown(one.path), PATH_CHARACTERS),
            fault=shown(one.fault),
        )
        for one in requests
    )


def short_path(path: str, most: int) -> str:
    """Cut a path between two of its parts: half of one may be half of a secret."""
    if len(path) <= most:
        return path
    return f"{path[: most - 1].rpartition('/')[0]}/…"


def requests_left_out(requests: Sequence[HttpRequest]) -> int:
    """How many requests a run made that are not kept, between the first and the last ones."""
    return requests[-1].number - len(requests) if requests else 0
