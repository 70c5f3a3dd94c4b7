"""How large a request's body may be, by its route, and how one that is large is read.

Whatever its headers say, no more than the limit is held in memory. A body is read on the loop up
to 256 kB, which takes tens of milliseconds at worst; a larger one by another process
(`large_bodies`), and only a few of these are held at a time. Called by the routes' guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from fastapi import HTTPException, Request
from starlette.types import Message

from bg_charm_service.domain.errors import InvalidInput, ServiceStopping
from bg_charm_service.domain.items import RUN_ITEMS_BYTES
from bg_charm_service.domain.model import CharmRef

if TYPE_CHECKING:
    from bg_charm_service.api.body_messages import BodyKind
    from bg_charm_service.api.large_bodies import LargeBodies
    from bg_charm_service.service.commands import Commands

#: A larger body is not read on the loop, in bytes; and where nothing larger is to be sent, nothing
#: larger is taken.
SMALL_BODY_BYTES = 256 * 1024

#: An event, with the name of its stream.
EVENT_BODY_BYTES = 1024 * 1024

#: A source of as many characters as one may have, in any language.
SOURCE_BODY_BYTES = 4 * 1024 * 1024

#: JSON can spell a value in more bytes than are stored: `\\u` escapes take two for one of a text
#: that is not ASCII, and spaces and line ends are not stored.
_JSON_FACTOR = 2

#: The command line ends a request when it has so many bytes of charms.
IMPORT_BATCH_BYTES = 8 * 1024 * 1024

_SEND = "/api/charms/{space}/{charm_id}/send"
_SOURCE = "/api/charms/{space}/{charm_id}/source"
_FIELD = "/api/charms/{space}/{charm_id}/state/{field}"
_ITEMS = "/api/charms/{space}/{charm_id}/items/{field}"
_ADD = "/api/charms"
_IMPORT = "/api/charms/import"


def body_limit(path: str, given: Mapping[str, Any], commands: Commands) -> int:
    """How many bytes a route takes; `given` is what stands in its path."""
    if path == _SEND:
        return EVENT_BODY_BYTES
    if path == _SOURCE:
        return SOURCE_BODY_BYTES
    if path == _ITEMS:
        return _JSON_FACTOR * RUN_ITEMS_BYTES + SMALL_BODY_BYTES
    if path not in (_FIELD, _ADD, _IMPORT):
        return SMALL_BODY_BYTES
    state = _JSON_FACTOR * commands.limits.state_bytes(_charm(given, commands))
    if path == _FIELD:
        return state + SMALL_BODY_BYTES
    charm = state + SOURCE_BODY_BYTES
    return charm if path == _ADD else charm + IMPORT_BATCH_BYTES


def body_kind(path: str) -> BodyKind | None:
    """What a large body of a route is; None for one that is no JSON to read, or never large."""
    kinds: dict[str, BodyKind] = {
        _SEND: "event",
        _SOURCE: "source",
        _ADD: "charm",
        _IMPORT: "import",
    }
    return kinds.get(path)


class LimitedRequest(Request):
    """A request whose body is refused once it is too large, and read elsewhere where it is large.

    To be closed when it is answered.
    """

    def __init__(self, request: Request, limit_bytes: int, kind: BodyKind | None) -> None:
        super().__init__(request.scope, request.receive, request._send)
        self._whole_receive = self._receive
        self._receive = self._receive_limited
        self._limit_bytes = limit_bytes
        self._kind = kind
        self._read_bytes = 0
        self._holds_room = False

    def check_announced(self) -> None:
        """Raise HTTPException for a body that is announced as too large."""
        announced = self.headers.get("content-length", "0")
        if announced.isdecimal() and (len(announced) > 20 or int(announced) > self._limit_bytes):
            raise self._too_large()

    async def json(self) -> Any:
        """Give the JSON of the body, or of a large one what it stands for."""
        body, kind = await self.body(), self._kind
        if len(body) <= SMALL_BODY_BYTES or kind is None or self._large_bodies is None:
            return await super().json()
        try:
            return await self._large_bodies.read(kind, body)
        except InvalidInput as error:
            # Other errors than these the framework would not let pass.
            raise HTTPException(400, str(error)) from None
        except ServiceStopping as error:
            raise HTTPException(503, str(error)) from None

    def finish(self) -> None:
        """The request is answered."""
        if self._holds_room and self._large_bodies is not None:
            self._large_bodies.room.release()
        self._holds_room = False

    async def _receive_limited(self) -> Message:
        message = await self._whole_receive()
        # What comes next in this step of the loop is for this request.
        commands = cast("Commands", self.app.state.commands)
        commands.steps.note("{} {:.100}", self.method, self.url.path)
        self._read_bytes += len(message.get("body", b""))
        if self._read_bytes > self._limit_bytes:
            raise self._too_large()
        large_bodies = self._large_bodies
        if self._read_bytes > SMALL_BODY_BYTES and not self._holds_room and large_bodies:
            await large_bodies.room.acquire()
            self._holds_room = True
        return message

    @property
    def _large_bodies(self) -> LargeBodies | None:
        return cast("LargeBodies | None", self.app.state.large_bodies)

    def _too_large(self) -> HTTPException:
        text = f"The request is too large: at most {self._limit_bytes} bytes are taken."
        return HTTPException(413, text)


def _charm(given: Mapping[str, Any], commands: Commands) -> CharmRef | None:
    if "charm_id" not in given:
        return None
    try:
        return commands.queries.resolve(str(given["space"]), str(given["charm_id"]))
    except InvalidInput:
        # Whoever reads the path says so.
        return None
