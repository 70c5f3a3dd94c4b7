"""The class that every charm is a subclass of.

Owns what authors may do with its attributes: read and assign fields, keep scratch names.
Loading and comparing values is the business of `links`; storing them is not done here at all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from inspect import getattr_static, isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, dataclass_transform

from pydantic import Field

from bg_charm_service.domain.errors import StateError
from bg_charm_service.domain.events.hooks import GivenHook
from bg_charm_service.domain.items import MOST_TOUCHED
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import FieldKind, Remind
from bg_charm_service.domain.text_limits import MOST_NOTICES, NOTICE_CHARACTERS, cut
from bg_charm_service.sdk.cells import Cell, Stream
from bg_charm_service.sdk.class_schema import ClassSchema, read_class_schema
from bg_charm_service.sdk.endings import checked_time
from bg_charm_service.sdk.fields import CharmField
from bg_charm_service.sdk.links import Run
from bg_charm_service.sdk.oauth import OAuth
from bg_charm_service.sdk.reminders import dump_event, moment_at, reminder_name, seconds_after
from bg_charm_service.sdk.run_items import dump_items
from bg_charm_service.sdk.snapshot import MemorySnapshot

if TYPE_CHECKING:
    from bg_charm_service.sdk.http_client import Auth, HttpClient

# Keys in an instance's own dict that no attribute of an author's can collide with.
#: Asked of its enum, a member takes many times as long (Python 3.11), and this is for each run.
_VALUE: Final = FieldKind.VALUE

_RUN: Final = "$run"
_CONTEXT: Final = "$context"
_CLASS_SCHEMA: Final = "$class_schema"
_NEXT_RUN: Final = "$next_run"


def _any_scratch() -> Path:
    return Path(tempfile.gettempdir())


def _any_time_left() -> float:
    return Limits().timeout_seconds


def _any_bytes_left() -> int:
    return Limits().state_bytes


def _any_keys_left() -> int:
    return MOST_TOUCHED


@dataclass(frozen=True, slots=True, kw_only=True)
class CharmContext:
    """Which run this is: `self.context` in a handler.

    `run_id` names the attempt, and is the same when the service has to run it again after a crash:
    use it as the idempotency key of whatever you do outside. `job_id` is the same for all attempts.
    `last_success` is when this charm last succeeded, in seconds since the epoch; None for never.
    `scratch` is a directory to write files to, which is emptied after the run; nothing else can be
    written to. A charm made by hand has the system's directory for temporary files there.

    `scheduled_at` is when a poll was due, however late it runs, and the same for all its attempts;
    None for an event that was sent, and for a run by hand. `previous` is the `scheduled_at` of the
    last poll that succeeded, None without one: what lies between the two is this poll's to do. Both
    are seconds since the epoch. `seconds_left` is what is left of the run's time, `room` how many
    bytes its state may grow by; with collections, and how many the run may still write of items.
    `has_room` tells whether there is enough of both for another portion.
    """

    run_id: str = "1.1"
    job_id: int = 1
    attempt: int = 1
    space: str = ""
    charm_id: str = ""
    last_success: float | None = None
    scratch: Path = field(default_factory=_any_scratch)
    scheduled_at: float | None = None
    previous: float | None = None
    #: What `hook_url` and `hook_lease` ask.
    hooks: Mapping[str, GivenHook] = field(default_factory=dict, repr=False, compare=False)
    #: What `seconds_left`, `room` and `has_room` ask.
    time_left: Callable[[], float] = field(default=_any_time_left, repr=False, compare=False)
    bytes_left: Callable[[], int] = field(default=_any_bytes_left, repr=False, compare=False)
    keys_left: Callable[[], int] = field(default=_any_keys_left, repr=False, compare=False)

    @property
    def seconds_left(self) -> float:
        """What is left of the time that this run may take."""
        return self.time_left()

    @property
    def room(self) -> int:
        """How many bytes the run may still leave behind."""
        return self.bytes_left()

    def has_room(self, size_bytes: int = 0, keys: int = 0, *, seconds: float = 5.0) -> bool:
        """Whether this run can do another portion; else `self.again(after=0)` goes on in the next.

        A portion leaves up to `size_bytes` behind, touches up to so many `keys` of collections, and
        takes up to `seconds`. Begin the first portion of a run whatever this says, or one that has
        little does nothing.
        """
        has_time = self.seconds_left > seconds
        return has_time and self.room > size_bytes and self.keys_left() >= keys


@dataclass_transform(kw_only_default=True, field_specifiers=(Field,))
class Charm:
    """A small program that the service runs again and again, and whose fields it keeps.

        from typing import Any
        from bg_charm_service import Charm

        class Counter(Charm):
            \"\"\"Counts its polls.\"\"\"

            counter: int = 0

            async def bg_updater(self, event: dict[str, Any]) -> None:
                self.counter += event.get("delta", 1)

    **Fields** are the annotated names of the class. Their values are stored between runs, as JSON,
    and checked against their types: plain types, lists, dicts, datetimes, dataclasses, pydantic
    models, `X | None`. A field without a default must be given when the charm is added. Changing a
    value in place, `self.items.append(...)`, counts as writing it. What a run writes is stored when
    it succeeds, all of it or nothing. `Items[T]` is a field for very many values, each by its key.

    **Streams** are the public methods that take `(self, event)`, sync or async. The service polls
    `bg_updater` with `{}`; other streams run when somebody sends to them. Outside, names are in
    camelCase: `bg_updater` is the stream `bgUpdater`.

    **Helpers** are methods whose names begin with `_`. Attributes whose names begin with `_` are
    scratch: they last for one run. Assigning any other undeclared name is an error, so that a typo
    cannot lose data. `ClassVar` annotations and plain class attributes are constants.

    **When it runs** is said by attributes without a type: `every = "5m"`, or
    `cron = "0 8 * * mon-fri"` with `time_zone = "Europe/Oslo"`; `quiet = "22:00-07:00"` for hours
    without polls, and `missed = "skip"` where times that passed are not made up for.

    **Asking for less** than the operator allows: `limits = {"timeout": 5, "memory": "64M"}` and
    `network = (443,)`, or `network = False` for a charm that connects to nothing.

    A charm has no `__init__` of its own. To test one, make it by hand, run a handler, and look:

        charm = Counter(counter=2)
        await charm.bg_updater({})
        assert charm.counter == 3
    """

    def __init__(self, **values: Any) -> None:
        fields = class_schema(type(self)).fields
        stored: dict[str, bytes] = {}
        items: dict[str, dict[str, bytes]] = {}
        links: dict[str, Any] = {}
        for name, value in values.items():
            field = fields.get(name)
            if field is None:
                raise TypeError(_no_such_field(type(self), name))
            if field.kind.is_link:
                if not isinstance(value, Cell | Stream | None):
                    raise TypeError(f"{name} is a link: give it a Cell or a Stream")
                links[name] = value
            elif field.kind is FieldKind.ITEMS:
                items[name] = dump_items(field, value)
            elif field.kind is FieldKind.OAUTH:
                if not isinstance(value, OAuth):
                    raise TypeError(f"{name} is a sign-in: give it an OAuth, as OAuth('token')")
                links[name] = value
            else:
                stored[name] = field.dump(value)
                field.check(value, stored[name])
        attach(self, Run(MemorySnapshot(stored, stored_items=items)), CharmContext())
        self.__dict__.update(links)

    @property
    def context(self) -> CharmContext:
        """Which run this is."""
        return context_of(self)

    def remind(
        self,
        stream: str,
        event: Any,
        *,
        after: float | timedelta | str | None = None,
        at: datetime | float | None = None,
        name: str | None = None,
    ) -> None:
        """Have an event sent to a stream of this charm later.

            self.remind("digest", {"day": "monday"}, after="12h", name="digest")
            self.remind("wake", {}, at=datetime(2030, 1, 1, 8, tzinfo=ZoneInfo("Europe/Oslo")))

        `after` is seconds, a timedelta or a text such as "5m", counted from the end of the run;
        `at` a datetime with a time zone, or seconds since the epoch. One that has a name replaces
        the one of that name. It is kept when the run succeeds, together with all that it writes,
        and outlasts restarts. A charm has up to 1,000 of them waiting.
        """
        streams = class_schema(type(self)).streams
        outside = next((name for name, method in streams.items() if stream in (name, method)), None)
        if outside is None:
            there = ", ".join(streams) or "none"
            raise StateError(f"remind: {type(self).__name__} has no stream {stream!r}: {there}")
        if (after is None) == (at is None):
            raise StateError("remind: say when, by after= or by at=")
        run_of(self).reminds.append(
            Remind(
                name="" if name is None else reminder_name(name),
                stream=outside,
                event=dump_event(event),
                at=None if at is None else moment_at(at),
                after=0.0 if after is None else seconds_after(after),
            )
        )

    def forget(self, name: str) -> None:
        """Take the reminder of a name back, if there is one."""
        run_of(self).reminds.append(Remind(reminder_name(name)))

    def notify(self, text: str) -> None:
        """Have people told: whoever the operator has named for this charm's space.

            self.notify("The report of March is there: 12 pages")

        A text of up to 1,000 characters; a run says up to 20. It is sent once the run has
        succeeded, together with all that it writes; by mail, ntfy, Slack or whatever was chosen.
        The same text is sent once an hour at most, and of a charm that says more than ten things
        in an hour the rest is one notice, later. Where nobody is to be told, nothing happens.
        """
        said: object = text
        if not isinstance(said, str) or not said.strip():
            raise StateError(f"notify: expected a text, not {said!r:.100}")
        notices = run_of(self).notices
        if len(notices) >= MOST_NOTICES:
            raise StateError(f"notify: a run says {MOST_NOTICES} things at most")
        notices.append(cut(said.strip(), NOTICE_CHARACTERS))

    def again(
        self, *, after: float | timedelta | str | None = None, at: datetime | None = None
    ) -> None:
        """Name the time of the next run, once this one has succeeded; the last word counts.

        `after` is seconds, a timedelta or a text such as "5m", counted from the end of the run: 0
        is next in turn, up to 1,000 times in a row without the interval in between. `at` is a
        moment with a time zone.
        """
        if (after is None) == (at is None):
            raise TypeError("again takes one of after=TIME and at=DATETIME")
        named: object = after if at is None else at
        if at is not None and not isinstance(at, datetime):
            raise TypeError(f"at is a datetime with a time zone, not {at!r:.100}")
        moment = checked_time(named, "again")
        if isinstance(moment, float | int) and moment < 0:
            raise ValueError(f"after={after!r}: it lies in the past")
        self.__dict__[_NEXT_RUN] = moment

    def hook_url(self, stream: str) -> str | None:
        """Give the address at which a stream with a hook is reached from outside.

            @hook(sign="github", secret="github_secret")
            def pushed(self, event: dict[str, Any]) -> None: ...

            url = self.hook_url("pushed")

        None where the service takes nothing from outside, as in a charm made by hand. Whoever has
        it can send to the charm what is not heard without the secret: do not print it.
        """
        given = _given_hook(self, stream)
        return given.url if given is not None else None

    def hook_lease(self, stream: str) -> float | None:
        """Give until when a WebSub hub sends to a stream, in seconds since the epoch; or None."""
        given = _given_hook(self, stream)
        return given.leased_until or None if given is not None else None

    def http(
        self,
        *,
        base_url: str = "",
        auth: Auth | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        most_bytes: int = 16 * 1024 * 1024,
        limit_reasons: Collection[str] = (),
    ) -> HttpClient:
        """Make an asynchronous client of httpx2 that knows the rules of a run.

            async with self.http(base_url="https://api.example.org/v1/", auth=self.token) as http:
                found = await http.json("messages/{id}", id=number, none_on=404)

        Safe requests are tried again twice, within the time that the run has left. Who asks to
        wait (429, 503 with Retry-After) is a Wait, who cannot be reached or answers 5xx a
        ProviderDown, a refused sign-in a SignInNeeded. Each request is a row of the run.

        `auth` is a token, (user, password), an Auth of httpx2, or an object with `token` and
        `async renew()`; it is sent to the host of `base_url` only, or without one to that of a
        request, and never on to another. `timeout` is in seconds, for connecting and between two
        pieces; `most_bytes` bounds each body, on the way and unpacked. `limit_reasons` are words
        in the body of a 403 that mean a limit.
        """
        from bg_charm_service.sdk.http_client import HttpClient

        context = context_of(self)
        return HttpClient(
            lambda: context.seconds_left,
            base_url=base_url,
            auth=auth,
            headers=headers,
            timeout=timeout,
            most_bytes=most_bytes,
            limit_reasons=limit_reasons,
        )

    # Hidden from type checkers, which would take it for leave to assign any name.
    if not TYPE_CHECKING:

        def __setattr__(self, name, value):
            field = class_schema(type(self)).fields.get(name)
            if field is not None:
                if field.kind is _VALUE:
                    self.__dict__[name] = value
                    return
                if field.kind is FieldKind.CELL:
                    raise AttributeError(f"{name} is a link: write with self.{name}.set(...)")
                if field.kind.is_of_items:
                    how = "" if field.kind is FieldKind.ITEMS else ".get()"
                    raise AttributeError(
                        f"{name} is a collection: write with self.{name}{how}[key] = ..."
                    )
                if field.kind is FieldKind.STREAM:
                    raise AttributeError(f"{name} is a link: send with self.{name}.send(...)")
                if field.kind is FieldKind.OAUTH:
                    raise AttributeError(f"{name} is a sign-in, which the service owns")
                self.__dict__[name] = value
            elif name.startswith("_"):
                object.__setattr__(self, name, value)
            else:
                raise AttributeError(_no_such_field(type(self), name))

        def __delattr__(self, name):
            if not name.startswith("_"):
                raise AttributeError(f"{name} cannot be deleted: assign an empty value instead")
            object.__delattr__(self, name)


def class_schema(cls: type[Charm]) -> ClassSchema:
    """Give what a class declares; raises DeclarationError when that cannot work."""
    known: ClassSchema | None = cls.__dict__.get(_CLASS_SCHEMA)
    if known is None:
        known = read_class_schema(cls, Charm, _open)
        type.__setattr__(cls, _CLASS_SCHEMA, known)
    return known


def attach(charm: Charm, run: Run, context: CharmContext | Callable[[], CharmContext]) -> None:
    """Make an instance work on a run; what gives its context is called when that is asked for."""
    charm.__dict__[_RUN] = run
    charm.__dict__[_CONTEXT] = context


def run_of(charm: Charm) -> Run:
    """Give the run that an instance works on."""
    run: Run = charm.__dict__[_RUN]
    return run


def context_of(charm: Charm) -> CharmContext:
    """Give the context of the run that an instance works on."""
    context: CharmContext | Callable[[], CharmContext] = charm.__dict__[_CONTEXT]
    if not isinstance(context, CharmContext):
        # Most runs never ask.
        context = charm.__dict__[_CONTEXT] = context()
    return context


def next_run_of(charm: Charm) -> float | datetime | None:
    """Give the time that an instance has named for its next run."""
    moment: float | datetime | None = charm.__dict__.get(_NEXT_RUN)
    return moment


def _given_hook(charm: Charm, stream: str) -> GivenHook | None:
    streams = class_schema(type(charm)).streams
    outside = next((name for name, method in streams.items() if stream in (name, method)), "")
    if not outside:
        there = ", ".join(streams) or "none"
        raise StateError(f"hook_url: {type(charm).__name__} has no stream {stream!r}: {there}")
    return context_of(charm).hooks.get(outside)


def _open(charm: Charm, field: CharmField) -> object:
    run: Run = charm.__dict__[_RUN]
    value = run.open(field)
    # Two threads may come here at once: both must go on with the same object.
    return charm.__dict__.setdefault(field.name, value)


def _no_such_field(cls: type[Charm], name: str) -> str:
    constant = getattr_static(cls, name, None)
    if constant is not None and not isfunction(constant) and not hasattr(Charm, name):
        return (
            f"{name} is a constant of {cls.__name__}, not a field: "
            f"declare it as `{name}: {type(constant).__name__} = ...` to have it stored"
        )
    close = get_close_matches(name, class_schema(cls).fields, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "declare it with a type in the class"
    return (
        f"{cls.__name__} has no field {name!r}: {hint} (names that begin with _ last for one run)"
    )
