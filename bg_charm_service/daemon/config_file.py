"""The configuration file: which one counts, what it may say, and what is wrong with it.

One TOML file, never joined with another; its keys are the names of the settings, and there are no
tables. Where flags and variables are spelled is the business of settings. Called by the session of
the command line, for the service and for commands alike.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import platformdirs

from bg_charm_service.daemon.settings import (
    SETTINGS,
    SYSTEM_CONFIG_FILE,
    Given,
    Setting,
    Settings,
    given_values,
    quoted,
    settings_of,
)
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.text_limits import QUOTED_SETTING_CHARACTERS, cut

#: A file larger than this is no configuration, in bytes.
_LIMIT_BYTES = 1024 * 1024

#: So much of its name is told.
_PATH_CHARACTERS = 300

#: No setting takes as much; a number that is larger still cannot be written with decimals.
_LARGEST_NUMBER = 10**30

_BY_NAME: Mapping[str, Setting] = {row.name: row for row in SETTINGS if row.in_file}


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a file says: the values that could be read, by setting, and what is wrong with it."""

    path: Path | None = None
    values: Mapping[str, object] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, the file that was read for them, and what was given where, by setting."""

    settings: Settings
    file: Path | None
    given: Mapping[str, Given]


def user_config_file() -> Path:
    """Give the place of the user's own file: `~/.config/bg-charm-service`, or XDG_CONFIG_HOME."""
    return Path(platformdirs.user_config_dir("bg-charm-service", appauthor=False), "config.toml")


def read_configuration(flags: Mapping[str, object], environ: Mapping[str, str]) -> Configuration:
    """Find and read the file, and join it with flags and environment; raises InvalidInput.

    The error names the flag, the variable, or file and key; of several in the file the first.
    """
    file = find_config_file(flags, environ)
    if file.problems:
        more = len(file.problems) - 1
        also = f" (and {more} more: see `bg-charm-service config check`)" if more else ""
        raise InvalidInput(file.problems[0] + also)
    given = given_values(flags, environ, file.values)
    return Configuration(settings_of(given), file.path, given)


def find_config_file(flags: Mapping[str, object], environ: Mapping[str, str]) -> ConfigFile:
    """Read the file that counts: that of --config, else the user's, else the machine's.

    Raises InvalidInput only for a --config or its variable that is no path.
    """
    (row,) = (row for row in SETTINGS if row.name == "config_file")
    named = flags.get(row.name)
    if isinstance(named, str):
        named = row.from_flag(named)
    if named is None:
        named = row.from_environment(environ)
    if isinstance(named, Path):
        return read_config_file(named)
    for path in (user_config_file(), SYSTEM_CONFIG_FILE):
        found = _look(path)
        if found is None:
            continue
        if found.st_uid not in (0, os.geteuid()):
            # It names programs to run. With sudo or su, HOME may still be another's.
            from bg_charm_service.storage.data_directory import user_name

            owner = user_name(found.st_uid)
            problem = f"it belongs to {owner}. If it is meant, name it with --config"
            return ConfigFile(path, problems=(f"{_shown(path)}: {problem}",))
        return read_config_file(path)
    return ConfigFile()


def read_config_file(path: Path) -> ConfigFile:
    """Read a file; what is wrong with it is told, all of it, and never raised."""
    shown = _shown(path)
    try:
        with path.open("rb") as opened:
            about = os.fstat(opened.fileno())
            content = opened.read(_LIMIT_BYTES + 1)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        return ConfigFile(path, problems=(f"{shown}: {reason}",))
    try:
        table = _parsed(content)
    except ValueError as error:
        return ConfigFile(path, problems=(f"{shown}: {error}",))
    values: dict[str, object] = {}
    problems = [f"{shown}: {problem}" for problem in _problems_of_mode(about, table)]
    for key, value in table.items():
        try:
            if isinstance(value, dict):
                raise ValueError(f"{quoted(key)}: there are no tables, all keys stand at the top")
            values[_setting_of(key).name] = read_value(_setting_of(key), value, path.parent)
        except ValueError as error:
            problems.append(f"{shown}: {error}")
    return ConfigFile(path, values, tuple(problems))


def _shown(path: Path) -> str:
    return cut(repr(str(path))[1:-1], _PATH_CHARACTERS, mark="...")


def _look(path: Path) -> os.stat_result | None:
    """Give a file's facts; None where there is none, also behind a folder that is closed to us."""
    try:
        return path.stat()
    except OSError:
        # A link to nowhere, or to itself, was meant to be a file: reading it says what is wrong.
        return path.lstat() if os.path.islink(path) else None


def _parsed(content: bytes) -> dict[str, Any]:
    """Parse TOML; raises ValueError with one line."""
    import tomllib

    if len(content) > _LIMIT_BYTES:
        raise ValueError("it is too large for a configuration file")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError:
        raise ValueError("it is not a text in UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    # Also what is no TOMLDecodeError: the library lets through what int() and date() say.
    except ValueError as error:
        reason = cut(" ".join(str(error).split()), QUOTED_SETTING_CHARACTERS, mark="...")
        raise ValueError(f"it is not TOML: {reason}") from None


def _problems_of_mode(about: os.stat_result, table: Mapping[str, Any]) -> Iterator[str]:
    if not stat.S_ISREG(about.st_mode):
        return
    if about.st_mode & stat.S_IWOTH:
        yield "everybody may write to it, and it names programs to run: chmod o-w"
    secret = next((key for key in table if key in _BY_NAME and _BY_NAME[key].is_secret), None)
    if secret is not None and about.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield f"it holds {secret}, and others may read it: chmod 600"


def _setting_of(key: str) -> Setting:
    """Give the setting of a key; raises ValueError naming the nearest one."""
    found = _BY_NAME.get(key)
    if found is not None:
        return found
    if any(key == row.name for row in SETTINGS):
        raise ValueError(f"{key}: it is a flag or a variable, and cannot stand in a file")
    import difflib

    # Whoever knows the flag or the variable writes that one.
    spelled = {name: name for name in _BY_NAME}
    for row in _BY_NAME.values():
        for other in (row.flag.lstrip("-"), *(variable.name for variable in row.variables)):
            spelled.setdefault(other, row.name)
            spelled.setdefault(other.replace("-", "_"), row.name)
    near = spelled.get(key) or next(
        (spelled[each] for each in difflib.get_close_matches(key[:100], spelled, n=1)), None
    )
    hint = f": is {near} meant?" if near else ". The settings are listed in docs/reference.md"
    raise ValueError(f"unknown key {quoted(key)}{hint}")


def read_value(row: Setting, value: object, folder: Path) -> object:
    """Read a value of TOML by the row of its setting; raises ValueError naming the key."""
    read, expected = _form_of(row)
    text = read(value)
    if text is None:
        raise ValueError(f"{row.name} = {_written(row, value)}: expected {expected}")
    if row.annotation == "bool":
        return value
    if row.annotation == "Path" and text:
        # Where the program is started from has nothing to do with where the file lies.
        text = os.path.join(os.path.abspath(folder), os.path.expanduser(text))
    try:
        if row.name == "charms":
            for entry in row.read(text):  # type: ignore[attr-defined]
                CharmRef.of_names(entry)
        return row.read(text)
    except (ValueError, InvalidInput) as error:
        raise ValueError(f"{row.name} = {_written(row, value)}: {error}") from None


def _written(row: Setting, value: object) -> str:
    """Show a value as it stands in the file, or nearly so; a secret is not shown."""
    if row.is_secret:
        return "..."
    try:
        text = str(value).lower() if isinstance(value, bool) else repr(row.shown(value))
    except ValueError:
        # Python writes no decimals of a number that is so large; in hexadecimal it can be read.
        return "a very large number"
    return cut(text, QUOTED_SETTING_CHARACTERS, mark="...")


#: Gives the text that the setting's own reader reads; None for what has not the right type.
_Form = Callable[[object], str | None]


def _form_of(row: Setting) -> tuple[_Form, str]:
    """Say how a setting is written in TOML: what turns it into text, and the words for it."""
    if row.annotation == "int" and row.name.endswith("_bytes"):
        return _size, 'a size such as "512M", or a number of bytes'
    if row.name == "backup_hook":
        return _words, "a program and its arguments in brackets"
    return _FORMS.get(row.annotation, (_text, "a text in quotes"))


def _switch(value: object) -> str | None:
    return "" if isinstance(value, bool) else None


def _whole(value: object) -> str | None:
    if type(value) is not int:
        return None
    return str(value) if abs(value) <= _LARGEST_NUMBER else str(_LARGEST_NUMBER)


def _number(value: object) -> str | None:
    # The readers take no exponent.
    return f"{value:f}" if isinstance(value, float) else _whole(value)


def _size(value: object) -> str | None:
    return value if isinstance(value, str) else _whole(value)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _ports(value: object) -> str | None:
    if value == "deny" or value == []:
        return "deny"
    numbers = [_whole(each) for each in value] if isinstance(value, list) else [None]
    return None if None in numbers else ",".join(filter(None, numbers))


def _is_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _list(value: object) -> str | None:
    # A comma inside would make two of one.
    if not _is_texts(value) or any("," in each for each in value):
        return None
    return ",".join(value)


def _words(value: object) -> str | None:
    return shlex.join(value) if _is_texts(value) else None


_FORMS: Mapping[str, tuple[_Form, str]] = {
    "bool": (_switch, "true or false"),
    "float": (_number, "a number"),
    "int": (_whole, "a whole number"),
    "tuple[int, ...]": (_ports, 'ports such as [53, 443], or "deny"'),
    "tuple[str, ...]": (_list, 'texts in brackets, such as ["one", "two"]'),
}
