"""One row of the settings table: name, flag, variable, default, reading and help together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.quantities import milliseconds


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable that gives a setting, and how it is read: its unit may differ."""

    name: str
    read: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table; `usage` is `--flag=<value>`, `--flag`, or empty without a flag."""

    name: str
    read: Callable[[str], object]
    usage: str
    variables: tuple[Variable, ...]
    default: str
    help: str

    @property
    def flag(self) -> str:
        return self.usage.partition("=")[0]

    @property
    def takes_value(self) -> bool:
        return "=" in self.usage

    def from_flag(self, text: str) -> object:
        """Read what was given with the flag; raises InvalidInput."""
        return _read(self.read, text, self.flag)

    def from_environment(self, environ: Mapping[str, str]) -> object:
        """Read the first of its variables that is set, None without one; raises InvalidInput."""
        for variable in self.variables:
            text = environ.get(variable.name, "")
            if text:
                return _read(variable.read, text, variable.name)
        return None


def setting(
    default: object,
    read: Callable[[str], object],
    usage: str = "",
    help: str = "",
    env: tuple[Variable, ...] = (),
    shown: str | None = None,
    *,
    is_secret: bool = False,
) -> Any:
    """Make a field of the settings, which is a row of the table; a secret is not shown."""
    if shown is None:
        shown = f"{default:g}" if isinstance(default, float) else str(default or "")
    row = Setting("", read, usage, env, shown, help)
    if callable(default):
        return dataclasses.field(
            default_factory=default, metadata={"setting": row}, repr=not is_secret
        )
    return dataclasses.field(default=default, metadata={"setting": row}, repr=not is_secret)


def written(default: str, read: Callable[[str], object], usage: str, help: str) -> Any:
    """Make a field of the settings whose default is given the way a person writes it."""
    return setting(read(default), read, usage, help, shown=default)


def ms(variable: str) -> tuple[Variable, ...]:
    """Give the variable of a setting in seconds that is written in milliseconds."""
    return (Variable(variable, milliseconds),)


def quoted(text: str) -> str:
    """Show what somebody wrote on one line, shortened."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _read(read: Callable[[str], object], text: str, source: str) -> object:
    try:
        return read(text)
    except ValueError as error:
        raise InvalidInput(f"{source}={quoted(text)}: {error}") from None
