"""Authorization: who a caller is, what it may, and which permission a route takes. Deny by default.

Each route declares one permission by taking one of the annotated callers below, which is checked
before its body is read; a route that declares none answers nobody. A caller that is limited to
spaces gets only to routes with such a `space` in their path, and to those that take `Bounded` and
promise to ask `check_space` for each space that they touch.
Whoever may not read what charms wrote is answered without it, whatever the route gives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.routing import Match, compile_path
from starlette.types import Receive, Scope, Send

from bg_charm_service.api.auth.body_limit import LimitedRequest, body_kind, body_limit
from bg_charm_service.domain.disclosure import for_anybody
from bg_charm_service.domain.errors import AuthorizationError, NotSignedIn
from bg_charm_service.domain.identity import space_did
from bg_charm_service.service.commands import ACTOR, Commands

Given = TypeVar("Given")

_SIGN_IN = (
    "Sign in with the link that `bg-charm-service open` prints, or send a token that "
    "`bg-charm-service token new --name NAME` makes."
)


class CredentialKind(StrEnum):
    """What proves who a caller is."""

    SOCKET = "socket"  #: the file permissions of the data directory
    SESSION = "session"  #: a cookie
    TOKEN = "token"
    KEY = "key"  #: a signature by an owner of spaces
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request; `spaces` are the DIDs that it is limited to, None for all."""

    name: str
    kind: CredentialKind
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
    #: What proved it, by the names that `service/commands/tokens` gives, and when that is over.
    credentials: frozenset[str] = frozenset()
    credentials_end_at: float | None = None
    #: The session among them.
    session: str = ""

    @property
    def space(self) -> str | None:
        """The one space that it is limited to; None for no limit, or several spaces."""
        return min(self.spaces) if self.spaces is not None and len(self.spaces) == 1 else None

    @property
    def shown_name(self) -> str:
        """Who it is, as people are told: a session is that of whom it was begun with."""
        if self.kind is not CredentialKind.SESSION:
            return self.name
        return self.name.removeprefix("session").removeprefix(" of ") or "operator"

    @property
    def is_unlimited(self) -> bool:
        return self.spaces is None

    @property
    def may_name_any_package(self) -> bool:
        """Whether a source of its may ask for any package: only the operator's own hands may."""
        is_operator = self.kind is CredentialKind.SESSION and self.shown_name == "operator"
        return self.kind is CredentialKind.SOCKET or is_operator

    def shown(self, view: Given) -> Given:
        """Give a view as this caller may see it: texts of charms only to those who may read."""
        return view if self.may_read else for_anybody(view)

    def may_touch(self, space: str) -> bool:
        """Whether a space, by name or DID, is within its limit."""
        return self.spaces is None or space_did(space) in self.spaces

    def check_space(self, space: str) -> None:
        """Raise AuthorizationError for a space outside its limit."""
        if not self.may_touch(space):
            raise AuthorizationError(f"{self.name} may not act on the space {space:.100}.")


class Permission(StrEnum):
    """What a route takes; its text completes the sentence `You may not …`."""

    NONE = "nothing"  #: everybody: signing in, files that are the same everywhere
    PAGE = "page"  #: everybody; the page itself shows no more than its caller may see
    LISTING = "see lists and the status"
    REGISTERING = "register charms"
    READING = "read state, logs and source"
    CHANGING = "change anything"
    GOVERNING = "govern the service"  #: tokens, the audit log: only without a limit
    LOCAL = "do that over the network"  #: only over the socket of the data directory


async def _listing(request: Request) -> Caller:
    return caller_of(request)


async def _registering(request: Request) -> Caller:
    return caller_of(request)


async def _reading(request: Request) -> Caller:
    return caller_of(request)


async def _changing(request: Request) -> Caller:
    return caller_of(request)


async def _governing(request: Request) -> Caller:
    return caller_of(request)


async def _local(request: Request) -> Caller:
    return caller_of(request)


async def _public(request: Request) -> Caller:
    return caller_of(request)


async def _page(request: Request) -> Caller:
    return caller_of(request)


async def _bounded(request: Request) -> Caller:
    return caller_of(request)


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

_PERMISSIONS: dict[Callable[..., Any], Permission] = {
    _listing: Permission.LISTING,
    _registering: Permission.REGISTERING,
    _reading: Permission.READING,
    _changing: Permission.CHANGING,
    _governing: Permission.GOVERNING,
    _local: Permission.LOCAL,
    _public: Permission.NONE,
    _page: Permission.PAGE,
}

#: Gives the caller of a request; raises what refuses a request whatever it wants.
Authenticate = Callable[[Request, Permission], Awaitable[Caller]]


class GuardedRoute(APIRoute):
    """A route that declares a permission, and lets nobody in who does not have it.

    What can be read is answered for HEAD too, as GET is, without the body (RFC 9110, 9.3.2).

    It is built when it is first asked, or looked at: to work out the forms of what all routes take
    and give would be a quarter of a start, and a command without a service asks one of them.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        # What a router looks for; the rest is there once `__getattr__` has missed something.
        self.path, self.endpoint = path, endpoint
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.methods = set(options.get("methods") or ["GET"])
        self._options: dict[str, Any] | None = options

    def __getattr__(self, name: str) -> Any:
        options = self.__dict__.get("_options")
        if options is None:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        self._options = None
        super().__init__(self.path, self.endpoint, **options)
        return getattr(self, name)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        if match is Match.PARTIAL and self._answers_head(scope):
            match = Match.FULL
        return match, child_scope

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._answers_head(scope):
            await self.app(scope, receive, send)
        else:
            await super().handle(scope, receive, send)

    def _answers_head(self, scope: Scope) -> bool:
        return scope["method"] == "HEAD" and "GET" in (self.methods or ())

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        self.dependant.call = _shown_to_caller(self.dependant.call)
        respond = super().get_route_handler()
        permission, is_bounded = _declared_permission(self.path, self.dependant)
        path, kind = self.path, body_kind(self.path)

        async def guarded(request: Request) -> Response:
            commands = cast("Commands", request.app.state.commands)
            commands.steps.note("{} {:.100}", request.method, request.url.path)
            limit_bytes = body_limit(path, request.path_params, commands)
            request = LimitedRequest(request, limit_bytes, kind)
            request.check_announced()
            try:
                return await answered(request)
            finally:
                request.finish()

        async def answered(request: Request) -> Response:
            authenticate = cast("Authenticate", request.app.state.authenticate)
            caller = await authenticate(request, permission)
            request.state.caller = caller
            ACTOR.set(caller.name)
            check_permission(caller, permission)
            if not is_bounded and permission not in (Permission.NONE, Permission.PAGE):
                _check_space_of_path(caller, request.path_params)
            response = await respond(request)
            return _without_body(response) if request.method == "HEAD" else response

        return guarded


def caller_of(request: Request) -> Caller:
    """Give the caller; never raises inside a guarded route."""
    return cast("Caller", request.state.caller)


def csrf_token(request: Request) -> str:
    """Give what forms of this request's page carry as `csrf`, or as header X-CSRF-Token."""
    return caller_of(request).csrf


def permission_of(route: APIRoute) -> Permission:
    """Give the permission that a route takes."""
    return _declared_permission(route.path, route.dependant)[0]


def check_permission(caller: Caller, permission: Permission) -> None:
    """Raise NotSignedIn or AuthorizationError unless a caller has a permission."""
    has = {
        Permission.NONE: True,
        Permission.PAGE: True,
        Permission.LISTING: caller.may_see_lists,
        Permission.REGISTERING: caller.may_register,
        Permission.READING: caller.may_read,
        Permission.CHANGING: caller.may_change,
        Permission.GOVERNING: caller.may_change and caller.is_unlimited,
        Permission.LOCAL: caller.kind is CredentialKind.SOCKET,
    }
    if has[permission]:
        return
    if permission is Permission.LOCAL:
        raise AuthorizationError("This is done on the service's own machine, over its socket.")
    if caller.kind is CredentialKind.ANONYMOUS:
        raise NotSignedIn(f"To {permission} takes a credential. {_SIGN_IN}")
    raise AuthorizationError(f"{caller.name} may not {permission}.")


def _without_body(response: Response) -> Response:
    """Give the head of an answer: its body may be long, or be made while it is sent."""
    head = Response(status_code=response.status_code)
    head.raw_headers = response.raw_headers
    return head


def _shown_to_caller(call: Callable[..., Any] | None) -> Callable[..., Any]:
    """Have a route's answer shown as its caller may see it; a whole response is left alone."""
    assert call is not None

    async def answer(**values: Any) -> Any:
        given = await call(**values)
        caller = next(value for value in values.values() if isinstance(value, Caller))
        return caller.shown(given)

    return answer


def _check_space_of_path(caller: Caller, path: dict[str, Any]) -> None:
    if caller.is_unlimited:
        return
    if "space" not in path:
        raise AuthorizationError(f"{caller.name} may act on its own space only.")
    caller.check_space(str(path["space"]))


def _declared_permission(path: str, dependant: Dependant) -> tuple[Permission, bool]:
    calls = list(_calls(dependant))
    permissions = {_PERMISSIONS[call] for call in calls if call in _PERMISSIONS}
    if len(permissions) != 1:
        raise RuntimeError(
            f"The route {path} declares {len(permissions)} permissions: it must declare one."
        )
    return permissions.pop(), _bounded in calls


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    for inner in dependant.dependencies:
        if inner.call is not None:
            yield inner.call
        yield from _calls(inner)
