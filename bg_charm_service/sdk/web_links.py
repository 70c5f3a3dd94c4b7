"""Links in the headers of an answer (RFC 8288), as lists tell of their next page.

httpx2's `links` knows one relation for a link, written as it is asked for, and cuts at a semicolon
inside of quotes. Used by the client of `sdk/http_client.py`, where a list is followed by links.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_TARGET: Final = re.compile(r"[\s,]*<([^>]*)>")
_PARAMETER: Final = re.compile(
    r"""\s*;\s*([^\s=;,"]*)\s*(?:=\s*(?:"((?:\\.|[^"\\])*)"|([^\s;,"]*)))?"""
)
_REST: Final = re.compile(r"[^,<]*")
_ESCAPE: Final = re.compile(r"\\(.)")


def linked(headers: Iterable[str], relation: str) -> str | None:
    """Give the target of the first link with a relation (in small letters), None without one.

    Links of something else than the answer (`anchor`) are none. Given are the values of all
    headers `Link`; the target is as it is written there, relative to the answer's address.
    """
    for header in headers:
        at = 0
        while (target := _TARGET.match(header, at)) is not None:
            at = target.end()
            parameters: dict[str, str] = {}
            while (found := _PARAMETER.match(header, at)) is not None:
                at = found.end()
                quoted = found[2]
                value = found[3] if quoted is None else _ESCAPE.sub(r"\1", quoted)
                # The first of a name counts.
                parameters.setdefault(found[1].lower(), value or "")
            relations = parameters.get("rel", "").lower().split()
            if relation in relations and "anchor" not in parameters:
                return target[1].strip()
            rest = _REST.match(header, at)
            at = rest.end() if rest is not None else at
    return None
