"""How arguments are read: charms, spaces, fields with JSON, links. Refusals are usage errors."""

from __future__ import annotations

import json
from typing import Any

import click

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import is_did, space_did
from bg_charm_service.domain.merkle import is_merkle_id
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.text_limits import QUOTED_JSON_CHARACTERS, cut


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
            return CharmRef(space_did(space), charm_id)
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
    """`field=SPACE/CHARM[/path]`; a space's name is replaced by its DID."""

    name = "field=space/charm"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        field, equals, target = value.partition("=")
        segments = target.split("/")
        # The id is what a charm's id looks like; a space's name may hold slashes itself.
        at = next((i for i, each in enumerate(segments) if i and is_merkle_id(each)), None)
        if not (field and equals) or at is None:
            self.fail(f"{value!r} is not of the form field=SPACE/CHARM[/path].", param, ctx)
        try:
            space = space_did("/".join(segments[:at]))
        except InvalidInput as error:
            self.fail(str(error), param, ctx)
        return field, "/".join([space, *segments[at:]])


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
