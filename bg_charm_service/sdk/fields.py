"""One declared field of a charm: from its annotation to reading, writing and checking JSON.

Pydantic does the work; its adapters are made once per class. Knows nothing of runs or links.
Used by the schema of a class, and by what binds it to a snapshot.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, NoReturn, Union, get_args, get_origin

from pydantic import ConfigDict, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic import Secret as PydanticSecret
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError

from bg_charm_service.domain.errors import StateError
from bg_charm_service.domain.model import FieldKind
from bg_charm_service.sdk.cells import SECRET, Cell, Stream
from bg_charm_service.sdk.items import Items
from bg_charm_service.sdk.oauth import OAuth, SignInNeeds
from bg_charm_service.sdk.unstorable import place_of, remedy_for

#: What most fields are. Their adapters are made once, by the zygote for all its workers.
_PLAIN: Final = frozenset(
    {
        bool,
        int,
        float,
        str,
        list,
        dict,
        datetime,
        int | None,
        float | None,
        str | None,
        datetime | None,
        list[str],
        list[int],
        list[dict[str, Any]],
        dict[str, str],
        dict[str, int],
        dict[str, Any],
    }
)

#: Values up to this size, in bytes of JSON, are cheap enough to be looked at again.
SMALL_VALUE_BYTES: Final = 64 * 1024

_CONFIG: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
_HIDDEN_TYPES: Final = (SecretStr, SecretBytes, PydanticSecret)


@dataclass(frozen=True, slots=True)
class CharmField:
    """One field; for a link, `adapter` and `default` are about the link's value.

    `default` is None when a value, or a link, must be given.
    """

    name: str
    kind: FieldKind
    adapter: TypeAdapter[Any]
    default: bytes | None = None
    #: Of a sign-in, where, and for what.
    needs: SignInNeeds | None = None
    #: Of a collection, what its items are.
    item_type: Any = None

    def load(self, stored: bytes) -> Any:
        """Read a stored value; raises StateError when it does not fit."""
        try:
            return self.adapter.validator.validate_json(stored)
        except ValidationError as error:
            self._refuse(error)

    def dump(self, value: Any) -> bytes:
        """Write a value as JSON, whatever it is; raises StateError when JSON cannot say it."""
        try:
            return self.adapter.serializer.to_json(
                value, by_alias=True, round_trip=True, warnings=False
            )
        except (PydanticSerializationError, ValueError, RecursionError, TypeError) as error:
            reason = " ".join(str(error).split()).removeprefix("Error serializing to JSON: ")
            place = self.name
            if self.kind is FieldKind.SECRET:
                reason = type(error).__name__
            else:
                for part in self._unknown_parts(value):
                    place += place_of(part, value)
                    remedy = remedy_for(part)
                    reason += f" ({remedy})" if remedy else ""
            raise StateError(f"{place}: cannot be stored as JSON: {reason}") from None

    def _unknown_parts(self, value: Any) -> list[Any]:
        """Find the first part of a value whose type JSON cannot say, for the error about it."""
        unknown: list[Any] = []

        def refuse(part: Any) -> NoReturn:
            unknown.append(part)
            raise TypeError

        with suppress(PydanticSerializationError, ValueError, RecursionError, TypeError):
            self.adapter.serializer.to_json(
                value, by_alias=True, round_trip=True, warnings=False, fallback=refuse
            )
        return unknown

    def check(self, value: Any, dumped: bytes) -> None:
        """Raise StateError unless `dumped`, made from `value`, fits the field's type exactly."""
        self.check_finite(value, dumped)
        try:
            self.adapter.validator.validate_json(dumped, strict=True)
        except ValidationError as error:
            self._refuse(error)

    def check_finite(self, value: Any, dumped: bytes) -> None:
        """Raise StateError for NaN and infinities, which pydantic writes as null."""
        if b"null" not in dumped:
            return
        plain = self.adapter.serializer.to_python(value, by_alias=True, warnings=False)
        if any(not math.isfinite(number) for number in _floats(plain)):
            raise StateError(f"{self.name}: cannot be stored as JSON: NaN or infinity")

    def normalize(self, stored: bytes) -> bytes:
        """Give a value the form in which this class writes it; raises StateError."""
        if self.needs is not None:
            raise StateError(
                f"{self.name}: it is a sign-in, which nobody sets: `bg-charm-service auth login "
                f"{self.needs.provider}` signs in"
            )
        value = self.load(stored)
        dumped = self.dump(value)
        self.check_finite(value, dumped)
        return dumped

    def _refuse(self, error: ValidationError) -> NoReturn:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        first = problems[0]
        place = ".".join(str(part) for part in (self.name, *first["loc"]))
        # A validator's own message may quote the value, which for a secret nobody may see.
        reason = first["type"] if self.kind is FieldKind.SECRET else " ".join(first["msg"].split())
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise StateError(f"{place}: {reason}{more}") from None


@dataclass(frozen=True, slots=True)
class FieldType:
    """An annotation, understood."""

    kind: FieldKind
    adapter: TypeAdapter[Any]
    is_optional_link: bool = False
    needs: SignInNeeds | None = None
    #: Of a collection, what its items are.
    item_type: Any = None


def parse_annotation(annotation: Any) -> FieldType:
    """Read a resolved annotation; raises TypeError with the reason when it cannot be a field."""
    needs = _needs_of(annotation)
    if needs is not None:
        return FieldType(FieldKind.OAUTH, TypeAdapter(Any), needs=needs)
    inner, is_optional = _without_none(without_constraints(annotation))
    if inner is Stream:
        return FieldType(FieldKind.STREAM, TypeAdapter(Any), is_optional)
    if _is_items(inner):
        if is_optional:
            raise TypeError("a collection is always there: write Items[...] without `| None`")
        (item_type,) = get_args(inner) or (Any,)
        return FieldType(FieldKind.ITEMS, _item_adapter(inner), item_type=item_type)
    if inner is Cell or get_origin(inner) is Cell:
        (value_type,) = get_args(inner) or (Any,)
        if _is_items(value_type):
            return FieldType(FieldKind.ITEMS_CELL, _item_adapter(value_type), is_optional)
        _refuse_unusable(value_type)
        return FieldType(FieldKind.CELL, _adapter(value_type), is_optional)
    kind = FieldKind.SECRET if _is_secret(inner) else FieldKind.VALUE
    _refuse_unusable(_without_marker(inner))
    return FieldType(kind, _adapter(annotation))


def _is_items(annotation: Any) -> bool:
    return Items in (annotation, get_origin(annotation))


def _item_adapter(annotation: Any) -> TypeAdapter[Any]:
    (value_type,) = get_args(annotation) or (Any,)
    if _is_secret(value_type):
        raise TypeError("items are not encrypted: keep a secret in a field of its own")
    _refuse_unusable(value_type)
    return _adapter(value_type)


def _needs_of(annotation: Any) -> SignInNeeds | None:
    if get_origin(annotation) is not Annotated:
        return None
    return next((one for one in annotation.__metadata__ if isinstance(one, SignInNeeds)), None)


def prepare_adapters() -> None:
    """Make the adapters of plain types."""
    for plain in _PLAIN:
        _plain_adapter(plain)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return _plain_adapter(annotation) if _is_plain(annotation) else _new_adapter(annotation)


def _is_plain(annotation: Any) -> bool:
    try:
        return annotation in _PLAIN
    except TypeError:
        return False  # it has no hash


@cache
def _plain_adapter(annotation: Any) -> TypeAdapter[Any]:
    return _new_adapter(annotation)


def _new_adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        try:
            return TypeAdapter(annotation, config=_CONFIG)
        except PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            return TypeAdapter(annotation)  # a model brings its own configuration
    except (PydanticUserError, NameError) as error:
        raise TypeError(str(error).partition(". ")[0].partition("\n")[0]) from None


def without_constraints(annotation: Any) -> Any:
    """Give the type itself, without what `Annotated` adds to it."""
    if get_origin(annotation) is Annotated and not _is_secret(annotation):
        return annotation.__origin__
    return annotation


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Take `X | None` apart."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1 and len(members) < len(get_args(annotation)):
            return members[0], True
    return annotation, False


def _is_secret(annotation: Any) -> bool:
    return get_origin(annotation) is Annotated and SECRET in annotation.__metadata__


def _without_marker(annotation: Any) -> Any:
    return annotation.__origin__ if _is_secret(annotation) else annotation


def _refuse_unusable(annotation: Any) -> None:
    for part in _parts(annotation):
        if part is Stream or part is Cell or get_origin(part) is Cell:
            raise TypeError("Cell and Stream are whole fields, alone or with `| None`")
        if _is_items(part):
            raise TypeError(
                "Items is a whole field: Items[...], or a link to one, Cell[Items[...]]"
            )
        if part is OAuth:
            raise TypeError('OAuth is a whole field, and names its provider: OAuth["google"]')
        if _is_secret(part):
            raise TypeError("Secret covers a whole field: write Secret[...] outermost")
        if Callable in (part, get_origin(part)) or type in (part, get_origin(part)):
            raise TypeError("functions and classes cannot be stored")
        if part in _HIDDEN_TYPES or get_origin(part) in _HIDDEN_TYPES:
            raise TypeError("pydantic's secret types lose their value: use bg_charm_service.Secret")


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


def _floats(value: Any) -> Iterator[float]:
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, float):
            yield current
        elif isinstance(current, dict):
            pending.extend(current.values())
        elif isinstance(current, list | tuple | set | frozenset):
            pending.extend(current)
