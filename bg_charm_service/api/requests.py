"""The JSON of requests: what it may hold, and its change into the values of commands.

Only the shape is checked here; whether a value makes sense is for the commands to say.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    ValidationError,
)

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.notices import DOWN_AFTER_SECONDS
from bg_charm_service.domain.packages.lock import read_lock
from bg_charm_service.domain.views import NewCharm

#: Findings of pydantic that are clearer in other words.
_PLAIN_WORDS = {
    "json_invalid": "The body is not JSON.",
    "extra_forbidden": "There is no such member",
    "model_type": "This is not a JSON object",
    "model_attributes_type": "This is not a JSON object",
    "recursion_loop": "This is nested too deeply",
}


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("This is not valid Unicode text") from None
    return text


#: JSON can spell half of a surrogate pair, which no file and no database takes.
Text = Annotated[str, AfterValidator(_encodable)]


#: A name of something, or where it lies; lists and the audit log show it.
Name = Annotated[str, Field(max_length=1000), AfterValidator(_encodable)]

#: A class has no more fields than this.
MOST_FIELDS = 1000

#: Charms that one import request may hold.
IMPORT_LIMIT = 1000


class Body(BaseModel):
    """A JSON object with exactly the documented members."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


#: A limit as its setting is written, a number where it is one; null takes it back.
_Limit = int | float | Text | None


class LimitsBody(Body):
    """Limits to set: `network` is ports such as "443,5432", or "deny"; sizes are such as "64M"."""

    timeout: _Limit = None
    cpu: _Limit = None
    memory: _Limit = None
    files: _Limit = None
    threads: _Limit = None
    processors: _Limit = None
    log: _Limit = None
    state: _Limit = None
    scratch: _Limit = None
    network: _Limit = None

    def given(self) -> dict[str, object]:
        """Give the limits that the request names."""
        return self.model_dump(exclude_unset=True)


class ScheduleBody(Body):
    """When a charm runs, against what its class says; what is left out stays as it is."""

    cron: Text | None = Field(None, description='Five fields, such as "0 8 * * mon-fri", or @daily')
    time_zone: Text | None = Field(None, description="Such as Europe/Oslo; by default UTC")
    quiet: Text | None = Field(None, description='Hours without polls, "22:00-07:00", or "none"')
    missed: Text | None = Field(None, description="What passed meanwhile: once, or skip")

    def given(self) -> dict[str, str]:
        """Give the words that the request says."""
        return self.model_dump(exclude_none=True)


class SignInBody(Body):
    """For which charm of a space somebody signs in; by default the one that wants it."""

    space: Name = Field(description="A space's DID or name")
    charm: Name = Field("", description="The charm's id, or the cause it was added for")
    field: Name = ""


class SignedInBody(Body):
    """A sign-in of a charm; without a field the one that it has at the provider."""

    space: Name = Field(description="A space's DID or name")
    charm: Name = Field(description="The charm's id, or the cause it was added for")
    field: Name = ""


class CallbackBody(Body):
    """The address that a provider has sent a browser to, with its state and code."""

    address: Annotated[str, Field(max_length=20_000), AfterValidator(_encodable)]


class ClientBody(Body):
    """What is registered at a provider; an issuer for one that the service does not know."""

    client_id: Name
    client_secret: Annotated[Name, Field(repr=False)] = ""
    issuer: Name = Field("", description="An https address that describes itself (RFC 8414)")


class TargetBody(Body):
    """Where notices are to go; the address is one of Apprise's, and is never shown again."""

    url: Annotated[str, Field(max_length=4000, repr=False), AfterValidator(_encodable)]
    name: Name = Field("", description="What to call it; else by its scheme")
    space: Name = Field("", description="Of one space only: its DID or name")
    kinds: list[Name] = Field([], max_length=20, description="What to tell; else all there is")
    down_after_seconds: float = Field(DOWN_AFTER_SECONDS, ge=1, le=30 * 86400)


class CharmBody(Body):
    """A charm to add, as in a line of an import file."""

    source: Text
    space: Name = Field(description="A space's DID or name")
    file_name: Name = Field("charm.py", alias="file", description="For tracebacks and the cause")
    class_name: Name | None = Field(None, alias="class")
    cause: Name | None = Field(None, description="By default the file's name without its suffix")
    values: dict[Text, JsonValue] = Field({}, alias="set", max_length=MOST_FIELDS)
    links: dict[Text, Text] = Field(
        {}, description="Field to SPACE/CHARM[/path]", max_length=MOST_FIELDS
    )
    writable_links: dict[Text, Text] = Field({}, max_length=MOST_FIELDS)
    wants_registration: bool = Field(False, alias="register")
    integration: Name = ""
    limits: LimitsBody = Field(default_factory=LimitsBody, description="Only for the operator")
    schedule: ScheduleBody | None = Field(None, description="When it runs, whatever its class says")
    interval: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="How often it is polled, in seconds; not with a schedule's `cron`"
    )
    lock: dict[Text, JsonValue] | None = Field(
        None, description="The lock of its packages, as an export has it; else they are looked for"
    )

    def to_charm(self) -> NewCharm:
        """Give the value that the commands take."""
        return NewCharm(
            source=self.source,
            file_name=self.file_name,
            space=self.space,
            class_name=self.class_name,
            values={name: to_json(value, f"set.{name}") for name, value in self.values.items()},
            links=self.links,
            writable_links=self.writable_links,
            cause=self.cause,
            register=self.wants_registration,
            integration=self.integration,
            limits=self.limits.given(),
            schedule=self.schedule.given() if self.schedule is not None else {},
            interval_seconds=self.interval,
            lock=read_lock(self.lock) if self.lock is not None else None,
        )


class GivenCharm(CharmBody):
    """A charm that was read elsewhere, with the values that it has there."""

    _charm: NewCharm = PrivateAttr()

    @classmethod
    def of(cls, charm: NewCharm) -> GivenCharm:
        """Make the body that stands for a charm."""
        body = cls.model_construct()
        body._charm = charm
        return body

    def to_charm(self) -> NewCharm:
        """Give the value that the commands take."""
        return self._charm


class SourceBody(Body):
    """New source for a charm."""

    source: Text
    file_name: Name = Field("charm.py", alias="file")
    class_name: Name | None = Field(None, alias="class")
    dry_run: bool = False
    upgrade: bool = Field(False, description="Look for newer packages for the same names")
    keep_items: bool = Field(
        False, description="Apply nothing if a collection with items would be lost"
    )


class SendBody(Body):
    """An event for one of a charm's streams, by default the one that polls use; now or later."""

    stream: Text | None = None
    event: JsonValue = {}
    at: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="When to send it, in seconds since the epoch"
    )
    after: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="In how many seconds to send it; not with `at`"
    )

    def event_json(self) -> bytes:
        """Give the event as it is stored."""
        return to_json(self.event, "event")


class GivenEvent(SendBody):
    """An event that was read elsewhere."""

    _event_json: bytes = PrivateAttr()

    @classmethod
    def of(
        cls, stream: str | None, event: bytes, at: float | None, after: float | None
    ) -> GivenEvent:
        """Make the body that stands for an event."""
        body = cls.model_construct(stream=stream, at=at, after=after)
        body._event_json = event
        return body

    def event_json(self) -> bytes:
        """Give the event as it is stored."""
        return self._event_json


class PurgeBody(Body):
    """The stream whose waiting events are to be deleted."""

    stream: Name


class IntervalBody(Body):
    """How often a charm is polled; null for what its class or the service says."""

    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None


class LettersBody(Body):
    """Which dead letters: one by its job, those of a charm (SPACE/CHARM), or all; one of these."""

    job: Annotated[int, Field(ge=1, le=2**62)] | None = None
    charm: Name | None = None
    all: bool = False


class GrantBody(Body):
    """Whom to make an owner."""

    did: Text


class RotationBody(Body):
    """The operator's new identity, and its signature that it takes over, as hex."""

    did: Text
    proof: Text


class AdminCharmBody(Body):
    """Whom to let into the system space besides its owner."""

    grant: Text | None = None


#: What the system calls a device or a file.
Inode = Annotated[int, Field(ge=0, lt=2**64)]


class BackupBody(Body):
    """The file that a backup goes into, by its absolute path."""

    path: Text
    folder: list[Inode] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="Device and inode of the file's folder, as the caller sees them: where the "
        "service sees others, or may not write, it makes nothing and answers 409 (NotShared)",
    )


class TokenBody(Body):
    """A token to make."""

    name: Text
    space: Text | None = Field(None, description="The space that it is limited to")
    read_only: bool = False
    expires_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class RegistrationBody(BaseModel):
    """A registration, as the original's button and documents post it."""

    model_config = ConfigDict(strict=True, frozen=True)

    piece_id: Text | None = Field(None, alias="pieceId")
    charm_id: Text | None = Field(None, alias="charmId")
    space: Text
    integration: Text

    @property
    def charm_member(self) -> str:
        """The member that names the charm."""
        return "pieceId" if self.piece_id else "charmId"

    @property
    def charm(self) -> str:
        """The charm's id, or the cause that it was added for."""
        return self.piece_id or self.charm_id or ""

    def _check(self) -> None:
        """Raise InvalidInput naming the member that is wrong."""
        if self.piece_id and self.charm_id and self.piece_id != self.charm_id:
            raise InvalidInput("pieceId and charmId name two charms; give one of them.")
        if not self.charm:
            raise InvalidInput("pieceId: Field required (charmId is taken as well)")
        if not self.integration.strip():
            raise InvalidInput("integration: It is empty.")
        try:
            space_did(self.space)
        except InvalidInput as error:
            raise InvalidInput(f"space: {error}") from None

    @classmethod
    def read(cls, body: bytes) -> RegistrationBody:
        """Read a body of any content type; raises InvalidInput saying which member is wrong."""
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise InvalidInput("The body is not JSON.") from None
        if not isinstance(value, dict):
            raise InvalidInput("The body is not a JSON object.")
        try:
            registration = cls.model_validate(value)
        except ValidationError as error:
            raise InvalidInput(first_problem(error.errors())) from None
        registration._check()
        return registration


def check_import(body: Any) -> list[Any]:
    """Give the members of an import; raises InvalidInput for what is no list, or too long."""
    if not isinstance(body, list):
        raise InvalidInput("Input should be a valid list")
    if len(body) > IMPORT_LIMIT:
        raise InvalidInput(f"One request takes {IMPORT_LIMIT} charms; these are {len(body)}.")
    return body


def read_charm(value: Any) -> NewCharm:
    """Read one charm of an import; raises InvalidInput saying what is wrong with it."""
    if isinstance(value, InvalidInput):
        # It was read elsewhere.
        raise value
    try:
        return CharmBody.model_validate(value).to_charm()
    except ValidationError as error:
        raise InvalidInput(first_problem(error.errors())) from None


def to_json(value: object, what: str) -> bytes:
    """Write a JSON value compactly; raises InvalidInput for what JSON cannot hold."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{what}: This is not a JSON value: {error}") from None


def first_problem(problems: Any) -> str:
    """Say in one line what the first of pydantic's findings is, and where."""
    first = problems[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    text = _PLAIN_WORDS.get(first["type"], first["msg"]).removeprefix("Value error, ")
    return f"{place:.100}: {text}" if place and first["type"] != "json_invalid" else text
