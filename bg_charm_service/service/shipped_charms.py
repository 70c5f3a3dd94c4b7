"""The charms that ship with the service: what each does, and what a person has to say for it.

All of it stands in the charm's own file, and is read there without running it: the docstring of the
module says in its first sentence what it does, a field with a `title` is one that people fill in,
with its `description` as help, and `integration = "mail"` names the label and the space that it has
unless somebody says otherwise. Used by the command line, the page, and the tasks of `make`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.model import UPDATER_STREAMS
from bg_charm_service.domain.package_folder import CHARMS_FOLDER

#: What the space is called where a charm names no integration.
_DEMO_SPACE: Final = "demo"

#: Open to every charm, unless an operator says otherwise: names, and what the web speaks.
_NAMES_PORT: Final = 53
_WEB_PORTS: Final = (80, 443)

#: A default that no constant says.
_COMPUTED: Final = object()
_MISSING: Final = object()

#: Streams by the name of their method.
_UPDATERS: Final = frozenset(stream.casefold() for stream in UPDATER_STREAMS)


class AnswerKind(StrEnum):
    """How a person answers for a field."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    LINES = "lines"  #: a list of texts, one a line


_KINDS: Final = {"int": AnswerKind.NUMBER, "bool": AnswerKind.FLAG, "list[str]": AnswerKind.LINES}


@dataclass(frozen=True, slots=True)
class ShippedField:
    """A field that a person fills in; `default` is what it is where nobody does."""

    name: str
    title: str
    help: str
    kind: AnswerKind
    is_secret: bool
    is_required: bool
    default: Any = None

    @property
    def is_asked(self) -> bool:
        """Whether a command asks for it: where it has a good default, it does not."""
        return self.is_required or (not self.default and self.kind is not AnswerKind.FLAG)

    @property
    def question(self) -> str:
        """What a command asks."""
        return f"{self.title}, {self.help}" if self.help else self.title

    def read(self, text: str) -> Any:
        """Read an answer as a value of the field; raises InvalidInput."""
        text = text if self.is_secret else text.strip()
        if self.kind is AnswerKind.FLAG:
            return text.lower() in ("yes", "true", "on", "1")
        if self.kind is AnswerKind.LINES:
            return [line.strip() for line in text.splitlines() if line.strip()]
        if self.kind is AnswerKind.NUMBER:
            try:
                return int(text)
            except ValueError:
                raise InvalidInput(f"{self.title}: this is not a whole number.") from None
        return text


@dataclass(frozen=True, slots=True)
class ShippedCharm:
    """A charm that ships; `result` is the field with what it brings, in these columns."""

    name: str
    sentence: str
    source: str
    integration: str
    space: str
    fields: tuple[ShippedField, ...]
    #: Providers at which somebody signs in for it.
    providers: tuple[str, ...]
    result: str
    columns: tuple[str, ...]
    #: Whether that is a collection, or else a list.
    is_collection: bool

    @property
    def file_name(self) -> str:
        """Its file."""
        return f"{self.name}.py"

    @property
    def title(self) -> str:
        """Its name, as people read it."""
        return self.name.replace("_", " ").capitalize()

    def missing(self, values: Mapping[str, Any]) -> list[ShippedField]:
        """The fields that have to be given, and are not."""
        return [one for one in self.fields if one.is_required and one.name not in values]

    def completed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Give values as the charm takes them: a `host` of `HOST:PORT` says two of them."""
        host = values.get("host")
        if not (isinstance(host, str) and any(one.name == "port" for one in self.fields)):
            return dict(values)
        name, _, port = host.rpartition(":")
        is_bare_address = ":" in name and not name.endswith("]")
        if not (name and port.isdecimal()) or is_bare_address:
            return dict(values)
        return {**values, "host": name.strip("[]"), "port": int(port)}

    def network(self, values: Mapping[str, Any]) -> str | None:
        """Give the ports that it needs as a limit; None where those open to everybody will do.

        They are those of its addresses, and of a field that is called `port`.
        """
        defaults = {one.name: one.default for one in self.fields}
        port = {**defaults, **values}.get("port")
        addresses = [value for value in values.values() if isinstance(value, str)]
        others = {one for one in map(_port_of, addresses) if one is not None}
        if isinstance(port, int):
            ports = [_NAMES_PORT, port]
        elif others.difference(_WEB_PORTS):
            ports = [_NAMES_PORT, *sorted(others.union(_WEB_PORTS))]
        else:
            return None
        return ",".join(map(str, ports))


def shipped_charm(name: str) -> ShippedCharm:
    """Give a charm that ships, by its name or that of its file; raises InvalidInput."""
    found = _shipped().get(name.removesuffix(".py"))
    if found is None:
        names = ", ".join(_shipped())
        raise InvalidInput(f"No charm {name:.100} ships with the service; there are: {names}.")
    return found


def shipped_charms() -> list[ShippedCharm]:
    """Give all charms that ship and can be polled, by name."""
    return list(_shipped().values())


@cache
def _shipped() -> dict[str, ShippedCharm]:
    found = {}
    for path in sorted(CHARMS_FOLDER.glob("*.py")):
        charm = read_charm(path.stem, path.read_text(encoding="utf-8"))
        if charm is not None:
            found[charm.name] = charm
    return found


def read_charm(name: str, source: str) -> ShippedCharm | None:
    """Read what a source says of itself; None where it has no charm that can be polled."""
    module = ast.parse(source)
    classes = {one.name: one for one in module.body if isinstance(one, ast.ClassDef)}
    charm = next(
        (one for one in classes.values() if "Charm" in map(ast.unparse, one.bases)),
        None,
    )
    if charm is None or not _is_polled(charm):
        return None
    integration = next(
        (
            str(one.value.value)
            for one in charm.body
            if isinstance(one, ast.Assign)
            and isinstance(one.value, ast.Constant)
            and [ast.unparse(target) for target in one.targets] == ["integration"]
        ),
        "",
    )
    declared = list(_declared(charm))
    result, columns, is_collection = _result(declared, classes)
    return ShippedCharm(
        name=name,
        sentence=" ".join((ast.get_docstring(module) or "").partition("\n\n")[0].split()),
        source=source,
        integration=integration,
        space=integration or _DEMO_SPACE,
        fields=tuple(one for one in map(_field, declared) if one is not None),
        providers=tuple(
            sorted({one for kind, one in map(_sign_in, declared) if kind == "OAuth" and one})
        ),
        result=result,
        columns=columns,
        is_collection=is_collection,
    )


def _is_polled(charm: ast.ClassDef) -> bool:
    methods = [
        one.name for one in charm.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return any(name.replace("_", "").casefold() in _UPDATERS for name in methods)


def _declared(owner: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    return (one for one in owner.body if isinstance(one, ast.AnnAssign))


def _field(declared: ast.AnnAssign) -> ShippedField | None:
    told = _told(declared)
    if "title" not in told:
        return None
    annotation = ast.unparse(declared.annotation)
    is_secret = annotation.startswith("Secret[")
    inner = annotation[len("Secret[") : -1] if is_secret else annotation
    default = told.get("default", _MISSING)
    return ShippedField(
        name=ast.unparse(declared.target),
        title=str(told["title"]),
        help=str(told.get("description", "")),
        kind=_KINDS.get(inner, AnswerKind.TEXT),
        is_secret=is_secret,
        is_required=default is _MISSING and "default_factory" not in told,
        default=None if default in (_MISSING, _COMPUTED) else default,
    )


def _told(declared: ast.AnnAssign) -> dict[str, Any]:
    """What stands in the `Field(...)` of a declaration, as far as constants say it."""
    call = declared.value
    if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "Field"):
        return {}
    told = {one.arg: _constant(one.value) for one in call.keywords if one.arg is not None}
    if call.args:
        told["default"] = _constant(call.args[0])
    return told


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return _COMPUTED


def _sign_in(declared: ast.AnnAssign) -> tuple[str, str]:
    """The name of a type with arguments, and the first of these where it is a text."""
    kind = declared.annotation
    if not isinstance(kind, ast.Subscript):
        return "", ""
    first = kind.slice.elts[0] if isinstance(kind.slice, ast.Tuple) else kind.slice
    text = first.value if isinstance(first, ast.Constant) else ""
    return ast.unparse(kind.value), str(text)


def _result(
    declared: list[ast.AnnAssign], classes: Mapping[str, ast.ClassDef]
) -> tuple[str, tuple[str, ...], bool]:
    """The first field with many things whose type names columns, these, and whether it is Items."""
    for one in declared:
        kind = one.annotation
        if not isinstance(kind, ast.Subscript) or ast.unparse(kind.value) not in ("Items", "list"):
            continue
        item = classes.get(ast.unparse(kind.slice))
        columns = [
            ast.unparse(column.target)
            for column in (_declared(item) if item is not None else ())
            if "title" in _told(column)
        ]
        if columns:
            return ast.unparse(one.target), tuple(columns), ast.unparse(kind.value) == "Items"
    return "", (), False


def _port_of(address: str) -> int | None:
    parts = urlsplit(address)
    try:
        return parts.port if parts.scheme in ("http", "https", "webcal") else None
    except ValueError:
        return None
