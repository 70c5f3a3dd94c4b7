"""How arguments are read: charms, spaces, fields with JSON, links. Refusals are usage errors."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

import click

from bg_charm_service.cli.standard_input import STANDARD_INPUT
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import is_did, space_did
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.text_limits import QUOTED_JSON_CHARACTERS, cut

_TIME_OF_DAY = re.compile(r"[0-9]{1,2}:[0-9]{2}")


class CharmType(click.ParamType[CharmRef]):
    """`SPACE/CHARM`: a space's name or DID, and a charm's id or the cause it was added for.

    A cause is looked up by the service, so that what comes out here may hold one as its id.
    """

    name = "space/charm"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> CharmRef:
        if isinstance(value, CharmRef):
            return value
        space, _, charm_id = value.rpartition("/")
        if not (space and charm_id):
            self.fail(f"{value!r} is not of the form SPACE/CHARM.", param, ctx)
        try:
            return CharmRef.of_names(value)
        except InvalidInput as error:
            self.fail(str(error), param, ctx)


class SpaceType(click.ParamType[str]):
    """A space's name or DID; kept as written, since the service remembers names."""

    name = "space"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> str:
        try:
            space_did(value)
        except InvalidInput as error:
            self.fail(str(error), param, ctx)
        return str(value)


class PlaceType(click.ParamType[tuple[str, ...]]):
    """`SPACE` or `SPACE/CHARM`, as the segments of a path of the API."""

    name = "space[/charm]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        if "/" in value:
            ref = CharmType().convert(value, param, ctx)
            return ("charms", ref.space, ref.charm_id)
        space = SpaceType().convert(value, param, ctx)
        # Its name goes along, for one that is to be made; these are no names in a path.
        return ("spaces", space_did(space) if space in (".", "..") else space)


class DidType(click.ParamType[str]):
    """A DID of somebody who acts."""

    name = "did"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> str:
        if not is_did(value):
            self.fail(f"{value!r} is not a DID such as did:key:z6Mk…", param, ctx)
        return str(value)


class JsonType(click.ParamType[str]):
    """A JSON value, kept as written."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> str:
        try:
            read_json(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class JsonOrInputType(JsonType):
    """A JSON value, kept as written, or `-` for standard input."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> str:
        return STANDARD_INPUT if value == STANDARD_INPUT else super().convert(value, param, ctx)


class FieldType(click.ParamType[tuple[str, Any]]):
    """`field=JSON`."""

    name = "field=json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        field, equals, text = value.partition("=")
        if not (field and equals):
            self.fail(f"{value!r} is not of the form field=JSON.", param, ctx)
        try:
            return field, read_json(text)
        except ValueError as error:
            self.fail(f"{field}: {error}", param, ctx)


class LinkType(click.ParamType[tuple[str, str]]):
    """`field=SPACE/CHARM[/path]`, passed on as written: the service knows names and causes."""

    name = "field=space/charm"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        field, equals, target = value.partition("=")
        segments = target.split("/")
        if not (field and equals) or len(segments) < 2 or not all(segments):
            self.fail(f"{value!r} is not of the form field=SPACE/CHARM[/path].", param, ctx)
        return field, target


class SecondsType(click.ParamType[float | None]):
    """A number of seconds above 0, or `default`."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> float | None:
        from bg_charm_service.domain.quantities import seconds

        if value == "default":
            return None
        try:
            return seconds(str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}, or default", param, ctx)


class SpanType(click.ParamType[float]):
    """A length of time, in seconds or with a unit."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> float:
        from bg_charm_service.domain.quantities import span

        if isinstance(value, float):
            return value
        try:
            return span(str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class MomentType(click.ParamType[float]):
    """A moment as seconds since the epoch: a time of day, the next one, or a date with one.

    Of this machine's time zone, unless it has an offset of its own.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        try:
            return read_moment(str(value), datetime.now().astimezone())
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value!r} is no time such as 08:30, 2030-01-31T08:30 or 2030-01-31T08:30+02:00.",
                param,
                ctx,
            )


def path_segment(name: str, kind: str) -> str:
    """Give a name as one part of an address; raises InvalidInput for one that would be more."""
    if "/" in name or not name.strip(". "):
        raise InvalidInput(f"{name!r:.60} is no name of a {kind}.")
    return name


def read_moment(text: str, now: datetime) -> float:
    """Read a moment; raises ValueError, or what a date far away raises. `now` has a time zone."""
    if _TIME_OF_DAY.fullmatch(text):
        hour, minute = map(int, text.split(":"))
        # Made anew: the day that it falls on may be in summer time, and today not.
        local = now.replace(tzinfo=None, hour=hour, minute=minute, second=0, microsecond=0)
        if local.timestamp() <= now.timestamp():
            local += timedelta(days=1)
        return local.timestamp()
    return datetime.fromisoformat(text).timestamp()


def read_json(text: str) -> Any:
    """Read JSON strictly; raises ValueError with a hint for a text without quotes."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        shown = cut(text, QUOTED_JSON_CHARACTERS, mark="...")
        raise ValueError(
            f"{shown!r} is not JSON; a text needs quotes of its own: {json.dumps(shown)!r}"
        ) from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


charm_argument = click.argument("ref", metavar="SPACE/CHARM", type=CharmType())
