"""The types of the events of a class's handlers: which there are, and what in them is secret.

Read when a class is described or an event is checked, never for a run: a handler gets its event as
plain JSON, whatever its type says.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from typing import (
    Annotated,
    Any,
    Final,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import typing_extensions
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from bg_charm_service.domain.errors import NotFound
from bg_charm_service.domain.events.secret_paths import EACH, EventSchema, SecretPath
from bg_charm_service.sdk.cells import SECRET

if sys.version_info >= (3, 14):
    import annotationlib

#: Types that say no more than that an event is JSON, also inside of each other.
_PLAIN: Final = (Any, object, dict, str, Mapping, inspect.Parameter.empty, None, type(None))

_CONFIG: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


def read_event_types(cls: type, streams: Mapping[str, str]) -> dict[str, EventSchema]:
    """Give what the types of events say, by stream, for those handlers that have one.

    `streams` names the method of each. A type that cannot be looked up, as one that is imported for
    type checkers only, counts as none.
    """
    found = {}
    for stream, method in streams.items():
        annotation = _annotation_of(cls, method)
        if not _is_plain(annotation):
            found[stream] = EventSchema(tuple(dict.fromkeys(_secrets(annotation))))
    return found


def event_problem(cls: type, streams: Mapping[str, str], stream: str, event: bytes) -> str:
    """Say what of an event does not fit the type of its handler; empty where all does.

    Nothing of the event itself is told. Raises NotFound for a stream that the class does not have.
    """
    method = streams.get(stream)
    if method is None:
        raise NotFound(f"{cls.__name__} has no stream {stream}")
    annotation = _annotation_of(cls, method)
    if _is_plain(annotation):
        return ""
    has_secrets = any(True for _ in _secrets(annotation))
    try:
        _adapter(_checkable(annotation, ())).validator.validate_json(event)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        first = problems[0]
        place = ".".join(map(str, ("event", *first["loc"])))
        # A validator's own message may quote the value.
        reason = first["type"] if has_secrets else " ".join(first["msg"].split())
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return f"{place}: {reason}{more}"
    except (PydanticUserError, NameError, TypeError):
        # A type that nothing can be checked against.
        return ""
    return ""


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=_CONFIG)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(annotation)  # a model brings its own configuration


def _checkable(annotation: Any, around: tuple[Any, ...]) -> Any:
    """Give a type that pydantic takes: before Python 3.12 it refuses typing's own TypedDict."""
    if sys.version_info >= (3, 12):
        return annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = _checkable(annotation.__origin__, around)
        return Annotated[(inner, *annotation.__metadata__)]
    if origin in (Union, types.UnionType):
        return Union[tuple(_checkable(one, around) for one in arguments)]  # noqa: UP007
    if origin in (Required, NotRequired):
        return origin[_checkable(arguments[0], around)]
    if origin is not None and arguments:
        return origin[tuple(_checkable(one, around) for one in arguments)]
    if not is_typeddict(annotation):
        return annotation
    if any(annotation is one for one in around):
        return Any
    hints = get_type_hints(annotation, include_extras=True)
    members: dict[str, Any] = {}
    for name, hint in hints.items():
        member = _checkable(hint, (*around, annotation))
        if get_origin(hint) not in (Required, NotRequired):
            is_required = name in annotation.__required_keys__
            member = Required[member] if is_required else NotRequired[member]
        members[name] = member
    make: Any = typing_extensions.TypedDict
    return make(annotation.__name__, members)


def _annotation_of(cls: type, method: str) -> Any:
    """Give the resolved type of the event that a handler takes; None where it has none."""
    function = inspect.unwrap(inspect.getattr_static(cls, method))
    try:
        names = list(_signature(function).parameters.values())
        parameter = names[1]
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return None
        # Resolved by itself: what another annotation names may be there for type checkers only.
        holder = type("holder", (), {"__annotations__": {"event": parameter.annotation}})
        if parameter.annotation is inspect.Parameter.empty:
            return None
        names_there = dict(vars(cls))
        hints = get_type_hints(holder, function.__globals__, names_there, include_extras=True)
        return hints["event"]
    except Exception:
        return None


def _signature(function: Any) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def _is_plain(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return False
    if origin in (dict, Mapping):
        return all(map(_is_plain, get_args(annotation)))
    try:
        return annotation in _PLAIN
    except TypeError:
        return False  # it has no hash


def _secrets(annotation: Any) -> Iterator[SecretPath]:
    """The places of secrets in a type; where a type holds itself, all of what is inside."""
    certain: list[SecretPath] = []
    possible: list[SecretPath] = []
    for path, is_certain in _walk(annotation, ()):
        (certain if is_certain else possible).append(path)
    if certain:
        yield from certain
        yield from possible


def _walk(annotation: Any, around: tuple[Any, ...]) -> Iterator[tuple[SecretPath, bool]]:
    annotation = getattr(annotation, "__value__", annotation)  # that of `type X = ...`
    if any(annotation is one for one in around):
        yield (), False
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if SECRET in annotation.__metadata__:
            yield (), True
        else:
            yield from _walk(annotation.__origin__, around)
    elif origin in (Required, NotRequired):
        yield from _walk(arguments[0], around)
    elif origin in (Union, types.UnionType):
        for one in arguments:
            yield from _walk(one, around)
    elif isinstance(origin, type) and arguments:
        # A list, a set, a tuple, a dict, or a model with a type of its own.
        for one in arguments:
            yield from _inside(EACH, one, around)
        yield from _walk(origin, around)
    else:
        for name, inner in _members(annotation):
            yield from _inside(name, inner, (*around, annotation))


def _inside(
    name: str, annotation: Any, around: tuple[Any, ...]
) -> Iterator[tuple[SecretPath, bool]]:
    for path, is_certain in _walk(annotation, around):
        yield (name, *path), is_certain


def _members(annotation: Any) -> Iterator[tuple[str, Any]]:
    """The names under which members of a type stand in JSON, and what these are."""
    if not isinstance(annotation, type):
        return
    is_model = issubclass(annotation, BaseModel)
    if not (is_model or is_typeddict(annotation) or dataclasses.is_dataclass(annotation)):
        return
    try:
        hints = get_type_hints(annotation, include_extras=True)
    except Exception:
        return
    for name, hint in hints.items():
        yield name, hint
        fields = getattr(annotation, "model_fields", {}) if is_model else {}
        if name in fields:
            field = fields[name]
            for alias in (field.alias, field.validation_alias):
                if isinstance(alias, str) and alias != name:
                    yield alias, hint
