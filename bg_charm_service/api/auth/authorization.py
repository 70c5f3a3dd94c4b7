"""Who asks, what they may, and what a route needs: deny by default.

Each route declares one need by taking one of the annotated callers below, which holds before
its body is read; a route that declares none cannot be made. A caller that is limited to spaces
gets only to routes with such a `space` in their path, and to those that take `Bounded` and
promise to ask `check_space` for each space that they touch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.responses import Response
from fastapi.routing import APIRoute

from bg_charm_service.domain.errors import AuthorizationError, NotSignedIn
from bg_charm_service.domain.identity import space_did
from bg_charm_service.service.commands import ACTOR

_SIGN_IN = (
    "Sign in with the link that `bg-charm-service open` prints, or send a token that "
    "`bg-charm-service token new --name NAME` makes."
)


class Kind(StrEnum):
    """What proves who a caller is."""

    SOCKET = "socket"  #: the file permissions of the data directory
    SESSION = "session"  #: a cookie
    TOKEN = "token"
    KEY = "key"  #: a signature by an owner of spaces
    NOBODY = "anonymous"


@dataclass(frozen=True, slots=True)
class Caller:
    """One who asks; `spaces` are the DIDs that it is limited to, None for all."""

    name: str
    kind: Kind
    listener: str
    may_see_lists: bool = False
    may_register: bool = False
    may_read: bool = False
    may_change: bool = False
    spaces: frozenset[str] | None = None
    #: What its forms have to carry; empty where no form is possible.
    csrf: str = field(default="", repr=False)
    #: When its right ends, in seconds since the epoch.
    expires_at: float | None = None

    @property
    def space(self) -> str | None:
        """The one space that it is limited to; None for no limit, or several spaces."""
        return min(self.spaces) if self.spaces is not None and len(self.spaces) == 1 else None

    @property
    def is_unlimited(self) -> bool:
        return self.spaces is None

    def may_touch(self, space: str) -> bool:
        """Whether a space, by name or DID, is within its limit."""
        return self.spaces is None or space_did(space) in self.spaces

    def check_space(self, space: str) -> None:
        """Raise AuthorizationError for a space outside its limit."""
        if not self.may_touch(space):
            raise AuthorizationError(f"{self.name} may not act on the space {space:.100}.")


class Need(StrEnum):
    """What a route asks of its caller."""

    NOTHING = "nothing"  #: everybody: signing in, files that are the same everywhere
    PAGE = "page"  #: everybody; the page itself shows no more than its caller may see
    LISTING = "see lists and the status"
    REGISTERING = "register charms"
    READING = "read state, logs and source"
    CHANGING = "change anything"
    GOVERNING = "govern the service"  #: tokens, the audit log: only without a limit
    LOCAL = "do that over the network"  #: only over the socket of the data directory


async def _listing(request: Request) -> Caller:
    return page_caller(request)


async def _registering(request: Request) -> Caller:
    return page_caller(request)


async def _reading(request: Request) -> Caller:
    return page_caller(request)


async def _changing(request: Request) -> Caller:
    return page_caller(request)


async def _governing(request: Request) -> Caller:
    return page_caller(request)


async def _local(request: Request) -> Caller:
    return page_caller(request)


async def _public(request: Request) -> Caller:
    return page_caller(request)


async def _page(request: Request) -> Caller:
    return page_caller(request)


async def _bounded(request: Request) -> Caller:
    return page_caller(request)


Listing = Annotated[Caller, Depends(_listing)]
Registering = Annotated[Caller, Depends(_registering)]
Reading = Annotated[Caller, Depends(_reading)]
Changing = Annotated[Caller, Depends(_changing)]
Governing = Annotated[Caller, Depends(_governing)]
Local = Annotated[Caller, Depends(_local)]
Public = Annotated[Caller, Depends(_public)]
Page = Annotated[Caller, Depends(_page)]
#: Beside one of the above, on a route that asks `check_space` itself.
Bounded = Annotated[Caller, Depends(_bounded)]

_NEEDS: dict[Callable[..., Any], Need] = {
    _listing: Need.LISTING,
    _registering: Need.REGISTERING,
    _reading: Need.READING,
    _changing: Need.CHANGING,
    _governing: Need.GOVERNING,
    _local: Need.LOCAL,
    _public: Need.NOTHING,
    _page: Need.PAGE,
}

#: Tells who asks; raises what refuses a request whatever it wants.
Identify = Callable[[Request, Need], Awaitable[Caller]]


class GuardedRoute(APIRoute):
    """A route that declares a need, and lets nobody in who does not meet it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        need, is_bounded = _declared(self.path, self.dependant)

        async def guarded(request: Request) -> Response:
            identify = cast("Identify", request.app.state.identify)
            caller = await identify(request, need)
            request.state.caller = caller
            ACTOR.set(caller.name)
            check(caller, need)
            if not is_bounded and need not in (Need.NOTHING, Need.PAGE):
                _check_path(caller, request.path_params)
            return await answer(request)

        return guarded


def page_caller(request: Request) -> Caller:
    """Give who asks; never raises inside a guarded route."""
    return cast("Caller", request.state.caller)


def csrf_token(request: Request) -> str:
    """Give what forms of this request's page carry as `csrf`, or as header X-CSRF-Token."""
    return page_caller(request).csrf


def need_of(route: APIRoute) -> Need:
    """Give what a route asks of its caller."""
    return _declared(route.path, route.dependant)[0]


def check(caller: Caller, need: Need) -> None:
    """Raise NotSignedIn or AuthorizationError unless a caller meets a need."""
    meets = {
        Need.NOTHING: True,
        Need.PAGE: True,
        Need.LISTING: caller.may_see_lists,
        Need.REGISTERING: caller.may_register,
        Need.READING: caller.may_read,
        Need.CHANGING: caller.may_change,
        Need.GOVERNING: caller.may_change and caller.is_unlimited,
        Need.LOCAL: caller.kind is Kind.SOCKET,
    }
    if meets[need]:
        return
    if need is Need.LOCAL:
        raise AuthorizationError("This is done on the service's own machine, over its socket.")
    if caller.kind is Kind.NOBODY:
        raise NotSignedIn(f"To {need} takes a credential. {_SIGN_IN}")
    raise AuthorizationError(f"{caller.name} may not {need}.")


def _check_path(caller: Caller, path: dict[str, Any]) -> None:
    if caller.is_unlimited:
        return
    if "space" not in path:
        raise AuthorizationError(f"{caller.name} may act on its own space only.")
    caller.check_space(str(path["space"]))


def _declared(path: str, dependant: Dependant) -> tuple[Need, bool]:
    calls = list(_calls(dependant))
    needs = {_NEEDS[call] for call in calls if call in _NEEDS}
    if len(needs) != 1:
        raise RuntimeError(f"The route {path} declares {len(needs)} needs: it must declare one.")
    return needs.pop(), _bounded in calls


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    for inner in dependant.dependencies:
        if inner.call is not None:
            yield inner.call
        yield from _calls(inner)
