"""Strict readings of what people write as settings: numbers, durations, sizes, names, paths.

A reader takes text and gives a value, or raises ValueError saying what it expected.
It knows neither the flag nor the variable that the text came from: settings adds that.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, parse_qs, urlsplit

#: No duration may be longer than this, in seconds: about ten years.
LONGEST_SECONDS = 315_360_000

#: The port that names are resolved on.
NAMES_PORT = 53

#: The words of a setting that takes one of a few.
Word = TypeVar("Word", bound=StrEnum)

_DECIMAL = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")
_WHOLE = re.compile(r"[0-9]{1,18}")
_SIZE = re.compile(r"([0-9]{1,18})([KMGkmg]?)")
_SIZE_FACTORS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([smhdw]?)")
_SPAN_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


def duration(unit: str, per_second: int) -> Callable[[str], float]:
    """Make a reader of positive durations in `unit`; it gives seconds, no finer than 1 ms."""
    longest = LONGEST_SECONDS * per_second

    def read(text: str) -> float:
        value = float(text) if _DECIMAL.fullmatch(text) else 0.0
        if value * 1000 / per_second < 1 or value > longest:
            raise ValueError(f"expected a number of {unit} above 0 and up to {longest}")
        return value / per_second

    return read


#: The units in which durations are written: flags in seconds, the environment in milliseconds.
seconds = duration("seconds", 1)
milliseconds = duration("milliseconds", 1000)


def span(value: object) -> float:
    """Read a length of time in seconds from a number, or from a text such as 90s, 5m, 2h, 1d, 1w.

    It is a second at least; raises ValueError for anything else.
    """
    seconds = 0.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (found := _SPAN.fullmatch(value.strip())):
        seconds = float(found[1]) * _SPAN_SECONDS[found[2] or "s"]
    if not 1.0 <= seconds <= LONGEST_SECONDS:
        raise ValueError(
            "expected seconds, or a text such as 90s, 5m, 2h or 1d, at least 1 s, "
            f"not {value!r:.60}"
        )
    return seconds


def span_text(seconds: float) -> str:
    """Write a length of time for people: `60 s`, `5 min`, `24 h`, `7 days`."""
    if seconds < 120 or seconds % 60:
        return f"{seconds:g} s"
    if seconds < 7200 or seconds % 3600:
        return f"{seconds / 60:g} min"
    if seconds < 172_800 or seconds % 86400:
        return f"{seconds / 3600:g} h"
    return f"{seconds / 86400:g} days"


def count(least: int, most: int = 1_000_000_000) -> Callable[[str], int]:
    """Make a reader of whole numbers."""

    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(f"expected a whole number from {least} to {most}")
        return int(text)

    return read


def size(least: str, most: str | None = None) -> Callable[[str], int]:
    """Make a reader of byte counts such as 512M or 1G, from `least` to `most`."""
    span = f"from {least} to {most}" if most else f"at least {least}"

    def read(text: str) -> int:
        value = _size(text)
        if value is None or value < (_size(least) or 0) or (most and value > (_size(most) or 0)):
            raise ValueError(f"expected a size such as 512K, 512M or 1G, {span}")
        return value

    return read


def _size(text: str) -> int | None:
    found = _SIZE.fullmatch(text)
    return int(found[1]) * _SIZE_FACTORS[found[2].upper()] if found else None


def size_text(value: int) -> str:
    """Write a byte count the way `size` reads it."""
    for suffix in "GMK":
        if value and value % _SIZE_FACTORS[suffix] == 0:
            return f"{value // _SIZE_FACTORS[suffix]}{suffix}"
    return str(value)


def command(text: str) -> tuple[str, ...]:
    """Read a command as a shell would split it; none of a shell's other signs means anything."""
    try:
        words = tuple(shlex.split(text))
    except ValueError:
        words = ()
    if not words or "\0" in text:
        raise ValueError("expected a command, such as '/usr/local/bin/carry-away --to=there'")
    return words


def one_of(*names: str) -> Callable[[str], str]:
    """Make a reader of one of a few words."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"expected {', '.join(names[:-1])} or {names[-1]}")
        return text

    return read


def choice(words: type[Word]) -> Callable[[str], Word]:
    """Make a reader of the members of an enumeration, by their values."""
    named = one_of(*words)

    def read(text: str) -> Word:
        return words(named(text))

    return read


def ports(text: str) -> tuple[int, ...]:
    """Read the TCP ports that a charm may connect to, or `deny` for none; gives them sorted.

    Port 53 is always among them: without names there is hardly a host to connect to.
    """
    if text == "deny":
        return ()
    words = [word.strip() for word in text.split(",")]
    if not all(_WHOLE.fullmatch(word) and 1 <= int(word) <= 65535 for word in words):
        raise ValueError("expected ports from 1 to 65535, such as 443,5432, or deny")
    return tuple(sorted({NAMES_PORT, *map(int, words)}))


def ports_text(values: tuple[int, ...]) -> str:
    """Write ports the way `ports` reads them."""
    return ",".join(map(str, values)) or "deny"


def name(text: str) -> str:
    """Read a name, which may not be empty."""
    if not text.strip():
        raise ValueError("expected a name")
    return text.strip()


def names(text: str) -> tuple[str, ...]:
    """Read names with commas between them; none is a list without any."""
    return tuple(each.strip() for each in text.split(",") if each.strip())


def path(text: str) -> Path:
    """Read a path; the working directory at this moment and `~` are made part of it."""
    if not text or "\0" in text:
        raise ValueError("expected a path")
    return Path(os.path.abspath(os.path.expanduser(text)))


def truth(text: str) -> bool:
    """Read yes or no, in the words that variables of the environment have for them."""
    word = text.strip().lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError("expected true or false")


def url(text: str) -> str:
    """Read the address of an HTTP server, without the slash at its end."""
    try:
        parts = urlsplit(text)
        is_server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_server = False
    if not is_server:
        raise ValueError("expected an address such as http://localhost:8000")
    return text.rstrip("/")


def database_url(text: str) -> str:
    """Read the address of a PostgreSQL database, without a password: others read command lines."""
    if _password_of(_database(text)):
        raise ValueError(
            "it holds a password, and a command line and a configuration file can be read by "
            "others: write the password into a file, and give --database-password=@FILE, or the "
            "whole address in the variable DATABASE_URL"
        )
    return text


def database_url_of_environment(text: str) -> str:
    """Read the address of a PostgreSQL database, which may hold the password."""
    _database(text)
    return text


def _database(text: str) -> SplitResult:
    expected = "expected an address such as postgresql://USER@HOST:5432/NAME"
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme not in ("postgresql", "postgres") or not text.isprintable():
        raise ValueError(expected)
    if not parts.path.strip("/") and "dbname" not in parse_qs(parts.query):
        raise ValueError(f"it names no database: {expected}")
    return parts


def _password_of(parts: SplitResult) -> bool:
    user, _, _ = parts.netloc.rpartition("@")
    return ":" in user or "password" in parse_qs(parts.query)


def lease(text: str) -> float:
    """Read how long a node may be silent, in seconds: shorter ones would be lost by chance."""
    value = seconds(text)
    if not 1 <= value <= 3600:
        raise ValueError("expected a number of seconds from 1 to 3600")
    return value


def package_index(text: str) -> str:
    """Read the address of an index of packages, or `none`."""
    if text == "none":
        return text
    try:
        return url(text)
    except ValueError:
        raise ValueError(
            "expected the address of an index, such as https://pypi.org/simple, or none"
        ) from None


def package_links(text: str) -> str:
    """Read a folder of packages, or the address of a page that links to them."""
    if text.startswith(("http://", "https://")) and not any(sign.isspace() for sign in text):
        return url(text)
    if "://" in text or any(not sign.isprintable() for sign in text):
        raise ValueError("expected a folder, or an address that begins with https:// or http://")
    return str(path(text))


def address(text: str) -> str:
    """Read `host:port`; an IPv6 address stands in brackets."""
    try:
        parts = urlsplit(f"//{text}")
        is_address = bool(parts.hostname) and parts.port is not None
        is_address = is_address and parts.netloc == text and "@" not in text
    except ValueError:
        is_address = False
    if not is_address:
        raise ValueError("expected an address such as 127.0.0.1:8000, [::1]:8000 or 0.0.0.0:8000")
    return text


def origins(text: str) -> tuple[str, ...]:
    """Read a list of origins, with commas between them."""
    return tuple(_origin(each.strip()) for each in text.split(",") if each.strip())


def _origin(text: str) -> str:
    try:
        parts = urlsplit(text.lower().rstrip("/"))
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.geturl() != (f"{parts.scheme}://{parts.netloc}")
    ):
        raise ValueError("expected an origin such as https://example.org")
    if "@" in parts.netloc or "*" in parts.netloc:
        raise ValueError("expected an origin such as https://example.org, without a wildcard")
    # Browsers leave the usual port out.
    usual = {"http": 80, "https": 443}[parts.scheme]
    host = parts.netloc.rpartition(":")[0] if port == usual else parts.netloc
    return f"{parts.scheme}://{host}"
