"""What a charm class declares: its fields and its streams, read once per class.

Owns the rules of a class body; raises DeclarationError naming class and member for every one
that is broken. Used by Charm itself and by what binds it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Annotated, Any, ClassVar, Final, NoReturn, get_origin, get_type_hints

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bg_charm_service.domain.errors import CompilerError, StateError
from bg_charm_service.domain.limits import LimitChanges
from bg_charm_service.domain.model import UPDATER_STREAMS, FieldKind
from bg_charm_service.sdk.class_words import is_word, own_attribute
from bg_charm_service.sdk.fields import CharmField, FieldType, parse_annotation, without_constraints
from bg_charm_service.sdk.items import Items
from bg_charm_service.sdk.requested_limits import (
    LIMITS,
    NETWORK,
    InvalidLimitRequest,
    read_requested_limits,
)

if sys.version_info >= (3, 14):
    import annotationlib

#: What these are called in a class is what it asks for; neither a field nor a stream can be.
RESERVED_NAMES: Final = frozenset({NETWORK, LIMITS})
_RESERVED: Final = (
    "this name is the service's own: write it without a type, as what the charm asks for"
)

_MACHINERY: Final = ("__init__", "__new__", "__getattribute__", "__setattr__", "__delattr__")
_MISSING: Final = object()

OpenField = Callable[[Any, CharmField], object]


class DeclarationError(CompilerError):
    """A charm class declares something that cannot work."""

    def __init__(self, class_name: str, member: str | None, reason: str) -> None:
        super().__init__(
            f"{class_name}.{member}: {reason}" if member else f"{class_name}: {reason}"
        )
        self.class_name = class_name
        self.member = member


@dataclass(frozen=True, slots=True)
class ClassSchema:
    """The fields of a class by name, its streams (outside name to method), what it asks for.

    `withheld` are methods that would be streams if they were not called like a word of the class:
    a charm that was added before there was that word still has them.
    """

    fields: dict[str, CharmField]
    streams: dict[str, str]
    requested_limits: LimitChanges
    withheld: dict[str, str]


class FieldAttribute:
    """Stands in the class for a field; the instance's own dict hides it once it is loaded."""

    __slots__ = ("declared_default", "field", "open")

    def __init__(self, field: CharmField, declared_default: object, open_field: OpenField) -> None:
        self.field = field
        self.declared_default = declared_default
        self.open = open_field

    def __get__(self, charm: object, owner: type) -> object:
        if charm is None:
            name = self.field.name
            raise AttributeError(f"{name} is a field of {owner.__name__}: read it as self.{name}")
        return self.open(charm, self.field)


def read_class_schema(cls: type, base: type, open_field: OpenField) -> ClassSchema:
    """Read what `cls`, a subclass of `base`, declares, and put its fields in place.

    `open_field` is called with the instance at the first read of a field.
    """
    for name in _MACHINERY:
        if getattr(cls, name) is not getattr(base, name):
            raise DeclarationError(
                cls.__name__,
                name,
                "a charm cannot define this: give fields defaults, and start work in a handler",
            )
    fields: dict[str, CharmField] = {}
    attributes: dict[str, FieldAttribute] = {}
    for name, annotation in _declared(cls, base):
        # Not what the base has there: a field wins over any name of the service's.
        declared = own_attribute(cls, base, name, _MISSING)
        if isinstance(declared, FieldAttribute):
            declared = declared.declared_default
        fields[name] = _field(cls, name, annotation, declared)
        attributes[name] = FieldAttribute(fields[name], declared, open_field)
    streams = dict(_streams(cls, base))
    for outside, method in streams.items():
        for name in {outside, method} & fields.keys():
            _refuse(cls, name, f"is both a field and the stream {outside}: rename one")
    withheld = {outside: method for outside, method in streams.items() if is_word(method)}
    streams = {outside: method for outside, method in streams.items() if outside not in withheld}
    requested_limits = _requested_limits(cls)
    for name, attribute in attributes.items():
        setattr(cls, name, attribute)
    return ClassSchema(fields, streams, requested_limits, withheld)


def outside_name(method_name: str) -> str:
    """Give the stream name of a method: `bg_updater` is `bgUpdater`."""
    first, *rest = method_name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _declared(cls: type, base: type) -> Iterator[tuple[str, Any]]:
    """Give the fields' names and resolved annotations, those of base classes first."""
    found: dict[str, Any] = {}
    for owner in reversed(cls.__mro__):
        if owner is object or issubclass(base, owner):
            continue
        for name, annotation in _annotations(cls, owner).items():
            if name.startswith("_"):
                continue
            resolved = _resolve(cls, owner, name, annotation)
            if get_origin(resolved) in (ClassVar, Final) or resolved in (ClassVar, Final):
                found.pop(name, None)
            else:
                found[name] = resolved
    yield from found.items()


def _annotations(cls: type, owner: type) -> dict[str, Any]:
    try:
        if sys.version_info >= (3, 14):
            # It evaluates all of them at once, and only now. One that cannot be is told of its
            # field, when that is resolved.
            return annotationlib.get_annotations(owner, format=annotationlib.Format.FORWARDREF)
        return inspect.get_annotations(owner)
    except Exception as error:
        raise DeclarationError(cls.__name__, None, f"{type(error).__name__}: {error}") from None


def _resolve(cls: type, owner: type, name: str, annotation: Any) -> Any:
    if type(annotation) is type:
        # Says all by itself, as that of most fields.
        return annotation
    # Resolved one by one, so that an error can name its field.
    holder = type(
        owner.__name__, (), {"__annotations__": {name: annotation}, "__module__": owner.__module__}
    )
    try:
        return get_type_hints(holder, localns=dict(vars(owner)), include_extras=True)[name]
    except Exception as error:
        _refuse(cls, name, f"its annotation cannot be read: {type(error).__name__}: {error}")


def _field(cls: type, name: str, annotation: Any, declared: object) -> CharmField:
    if name in RESERVED_NAMES:
        _refuse(cls, name, _RESERVED)
    if inspect.isfunction(declared):
        _refuse(cls, name, f"is both a field and the stream {outside_name(name)}: rename one")
    default = declared
    if isinstance(declared, FieldInfo):
        if declared.alias is not None or declared.validation_alias is not None:
            _refuse(cls, name, "a field cannot have an alias")
        if declared.metadata:
            annotation = Annotated[(annotation, *declared.metadata)]
        default = declared.get_default(call_default_factory=True, validated_data={})
        if default is PydanticUndefined:
            default = _MISSING
    try:
        read = parse_annotation(annotation)
    except TypeError as error:
        _refuse(cls, name, str(error))
    except Exception as error:
        _refuse(cls, name, f"its type cannot be stored: {type(error).__name__}: {error}")
    if read.kind.is_link:
        return _link(cls, name, read, default)
    if read.kind is FieldKind.ITEMS:
        if default is not _MISSING and not (isinstance(default, Items) and not default):
            _refuse(cls, name, "a collection begins empty: its default is Items(), or none")
        return CharmField(name, read.kind, read.adapter, item_type=read.item_type)
    if read.needs is not None:
        if default is not _MISSING:
            _refuse(cls, name, "a sign-in has no default: it is there once somebody has signed in")
        return CharmField(name, read.kind, read.adapter, needs=read.needs)
    field = CharmField(name, read.kind, read.adapter)
    if default is _MISSING:
        return field
    try:
        dumped = field.dump(default)
        field.check(default, dumped)
        return CharmField(name, read.kind, read.adapter, field.normalize(dumped))
    except StateError as error:
        hint = " (write `| None` after the type to allow it)" if default is None else ""
        _refuse(cls, name, f"its default does not fit {_shown(annotation)}: {error}{hint}")


def _link(cls: type, name: str, read: FieldType, default: object) -> CharmField:
    if default is not _MISSING and not (default is None and read.is_optional_link):
        _refuse(cls, name, "a link has no default, except None after `| None`")
    return CharmField(name, read.kind, read.adapter, b"null" if read.is_optional_link else None)


def _streams(cls: type, base: type) -> Iterator[tuple[str, str]]:
    """Give the streams: public methods that can be called with one event."""
    seen: dict[str, str] = {}
    for name in dict.fromkeys(name for owner in reversed(cls.__mro__) for name in vars(owner)):
        # What the base has is no stream; what the class itself has is, whatever it is called.
        method = None if name.startswith("_") else own_attribute(cls, base, name, None)
        if not inspect.isfunction(method):
            continue
        if name in RESERVED_NAMES:
            _refuse(cls, name, _RESERVED)
        outside = outside_name(name)
        if not _takes_one_event(method):
            if outside in UPDATER_STREAMS:
                _refuse(cls, name, f"a handler takes (self, event): def {name}(self, event)")
            continue
        if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            _refuse(cls, name, "a handler cannot contain `yield`: nothing would run it")
        if outside in seen:
            _refuse(cls, name, f"{seen[outside]} is the stream {outside} already")
        seen[outside] = name
        yield outside, name


def _requested_limits(cls: type) -> LimitChanges:
    try:
        return read_requested_limits(cls)
    except InvalidLimitRequest as error:
        _refuse(cls, error.member, str(error))


def _takes_one_event(method: FunctionType) -> bool:
    code = method.__code__
    # Nearly all are seen so, without the machinery; one with attributes may stand for another.
    if code.co_argcount == 2 and not code.co_kwonlyargcount and not method.__dict__:
        return True
    try:
        _signature(method).bind(None, None)
    except TypeError:
        return False
    return True


def _signature(method: FunctionType) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        # Its annotations are nobody's business here, and may name what only type checkers import.
        return inspect.signature(method, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(method)


def _shown(annotation: Any) -> str:
    return inspect.formatannotation(without_constraints(annotation)).replace("typing.", "")


def _refuse(cls: type, member: str, reason: str) -> NoReturn:
    raise DeclarationError(cls.__name__, member, reason)
