"""The lines of iCalendar and the components that they make (RFC 5545, 3.1 and 3.6; RFC 6868).

Values stay as they are written: what a duration or a time means, its reader says. Read by
`reader` and `zones`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

#: A line that goes on begins with a blank. Undone in bytes: a fold may cut a letter in two.
_FOLD: Final = re.compile(rb"(?:\r\n|\n|\r)[ \t]")

#: Not `splitlines`, which ends a line at letters that a text may have (U+2028, U+0085).
_END: Final = re.compile(r"\r\n|\n|\r")

_VALUE: Final = r'(?:"[^"]*"|[^";:,]*)'
_LINE: Final = re.compile(
    rf"([A-Za-z0-9-]+)((?:;[A-Za-z0-9-]+={_VALUE}(?:,{_VALUE})*)*):(.*)", re.DOTALL
)
_PARAMETER: Final = re.compile(rf"([A-Za-z0-9-]+)=({_VALUE})(?:,{_VALUE})*")

_ESCAPED: Final = re.compile(r"\\([\\;,nN])")
_CARET: Final = re.compile(r"\^([n^'])")
_CARETS: Final = {"n": "\n", "^": "^", "'": '"'}


@dataclass(frozen=True, slots=True)
class Property:
    """One line: its name in capitals, its parameters, each with its first value, and its value."""

    name: str
    parameters: dict[str, str]
    value: str


@dataclass(slots=True)
class Component:
    """What stands between BEGIN and END; `unreadable` are lines that are none, as they begin."""

    name: str
    properties: list[Property] = field(default_factory=list)
    parts: list[Component] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def all(self, name: str) -> list[Property]:
        """Give the properties of a name."""
        return [one for one in self.properties if one.name == name]

    def first(self, name: str) -> Property | None:
        """Give the first property of a name."""
        return next((one for one in self.properties if one.name == name), None)

    def value(self, name: str) -> str:
        """Give the value of the first property of a name; empty for none."""
        found = self.first(name)
        return "" if found is None else found.value.strip()

    def text(self, name: str) -> str:
        """Give that value as a text for people."""
        return unescaped(self.value(name))


def read_calendars(text: str | bytes) -> list[Component]:
    """Give the calendars of a text; raises ValueError where it is none, or is cut off."""
    calendars: list[Component] = []
    opened: list[Component] = []
    for line in _lines(text):
        if not line:
            continue
        found = _property(line)
        if found is None:
            if opened:
                opened[-1].unreadable.append(line[:80])
        elif found.name == "BEGIN":
            component = Component(found.value.strip().upper())
            if opened:
                opened[-1].parts.append(component)
            elif component.name == "VCALENDAR":
                calendars.append(component)
            else:
                raise ValueError(f"no calendar: it begins with {component.name[:40]}")
            opened.append(component)
        elif found.name == "END":
            _close(opened, found.value.strip().upper())
        elif opened:
            opened[-1].properties.append(found)
        elif not calendars:
            break
    if not calendars:
        raise ValueError("no calendar: it does not begin with BEGIN:VCALENDAR")
    if opened:
        raise ValueError(f"a calendar that is cut off: END:{opened[0].name[:40]} is missing")
    return calendars


def unescaped(text: str) -> str:
    """Read a value of type TEXT (RFC 5545, 3.3.11)."""
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda found: "\n" if found[1] in "nN" else found[1], text)


def _lines(text: str | bytes) -> Iterator[str]:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    data = _FOLD.sub(b"", data.removeprefix(b"\xef\xbb\xbf"))
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        # Without a charset it is UTF-8 (3.1.4); what is not has been written by an older Windows.
        whole = data.decode("cp1252", "replace")
    yield from _END.split(whole)


def _property(line: str) -> Property | None:
    if ";" not in line.partition(":")[0]:
        # Most lines, and much faster.
        name, colon, value = line.partition(":")
        name = name.strip()
        if not colon or not name or not name.replace("-", "a").isalnum():
            return None
        return Property(name.upper(), {}, value)
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    name, parameters, value = found.groups()
    read = {
        one[1].upper(): _CARET.sub(lambda caret: _CARETS[caret[1]], one[2].strip('"'))
        for one in _PARAMETER.finditer(parameters)
    }
    return Property(name.upper(), read, value)


def _close(opened: list[Component], name: str) -> None:
    """End a component, and those in it that were not ended."""
    for place in range(len(opened) - 1, -1, -1):
        if opened[place].name == name:
            del opened[place:]
            return
