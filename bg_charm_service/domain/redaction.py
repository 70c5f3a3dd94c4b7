"""Keeps secrets out of texts: those that a run was given, and what looks like a credential.

Pure text work, called where a text of somebody's code comes in (a run, an integration, a source, a
hook) and by the log. Given secrets shorter than four characters are left alone: they stand in
ordinary words. Looking for very many would take longer than the run itself: then all of what it
printed is kept out. What looks like a credential is a net, not a wall: `mask` says what it finds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

#: What stands where a secret stood.
MARK = "[secret]"

#: What stands instead of a text in which too many secrets would have to be looked for.
WITHHELD = "[withheld: its charm has too many secrets to look for]"

#: Texts that are looked for, and how large the values may be that they stand in, in bytes.
MOST_TEXTS = 1000
MOST_BYTES = 256 * 1024

#: Stands among secrets, as the last, for all those that nobody looks for.
_ALL_OTHERS = ""

#: Shorter texts and numbers are no secrets that could be told from chance.
MIN_CHARACTERS = 4

#: Of an address that is a secret, a shorter part is not looked for by itself.
MIN_ADDRESS_CHARACTERS = 12


def secret_texts(values: Iterable[bytes]) -> tuple[str, ...]:
    """The texts inside JSON values that must not be shown, longest first.

    Each in the forms in which it gets printed: as it is, inside JSON, as Python shows it; one that
    is an address, as that of a webhook, without its scheme, and its path. Where they are too many,
    what they give lets `redact` withhold the whole.
    """
    found: set[str] = set()
    count = size_bytes = 0
    for value in values:
        size_bytes += len(value)
        if size_bytes > MOST_BYTES:
            return (_ALL_OTHERS,)
        for leaf in _leaves(json.loads(value)):
            count += 1
            if count > MOST_TEXTS:
                return (_ALL_OTHERS,)
            shown = leaf if isinstance(leaf, str) else json.dumps(leaf)
            if len(shown) < MIN_CHARACTERS:
                continue
            for text in (shown, *_parts_of_address(shown)):
                found.update((text, json.dumps(text)[1:-1], repr(text)[1:-1]))
    return tuple(sorted(found, key=len, reverse=True))


def _parts_of_address(text: str) -> Iterator[str]:
    """What of an address is told of a request without giving it as a whole."""
    scheme, mark, rest = text.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        return
    path = re.split(r"[?#]", rest, maxsplit=1)[0]
    for part in (path, path[path.find("/") :] if "/" in path else ""):
        # What everybody's addresses have is no secret.
        if len(part) >= MIN_ADDRESS_CHARACTERS and part.count("/") > 1:
            yield part


def redact(text: str, secrets: Sequence[str]) -> str:
    """Replace every secret in a text; they come longest first."""
    if secrets and secrets[-1] == _ALL_OTHERS:
        return WITHHELD if text else ""
    for secret in secrets:
        text = text.replace(secret, MARK)
    return text


def mask(text: str) -> str:
    """Replace what looks like a credential, in time proportional to the text's length.

    That is: the user part and the query of URLs, also of one without a host; the values of the
    headers Authorization, Cookie, Set-Cookie and X-…-Key; what stands after key=, token=, secret=
    or password=, as a word of its own or the end of a longer name (`api_key=`, `accessToken=`),
    also as a member of JSON or of a dict (`"token": "…"`); and tokens of this service. Ids and
    DIDs are not. A text that was masked stays as it is.
    """
    if not text:
        # The log of most runs.
        return text
    # Most texts hold none of it, and to see that is cheap.
    if "://" in text or ":\\/" in text:
        text = _URL.sub(_masked_url, text)
    if "?" in text:
        text = _QUERY.sub(_QUERY_MASKED, text)
    if _TOKEN_START in text:
        text = _OWN_TOKEN.sub(MARK, text)
    has_value = "=" in text or '"' in text or "'" in text
    if not has_value and ":" not in text:
        return text
    lowered = text.lower()
    if "authorization" in lowered or "cookie" in lowered or "x-" in lowered:
        text = _HEADER_IN_QUOTES.sub(_HEADER_IN_QUOTES_MASKED, text)
        text = _HEADER.sub(_HEADER_MASKED, text)
    if has_value and any(word in lowered for word in ("key", "token", "secret", "pass")):
        text = _ASSIGNED.sub(_ASSIGNED_MASKED, text)
    return text


def mask_without_users(text: str) -> str:
    """Mask a text as `mask` does, but leave out who signs in at an address: that helps nobody."""
    return mask(text).replace(f"//{MARK}@", "//")


def mask_address(text: str) -> str:
    """Mask a text that should be one address, whatever characters its password has.

    Also one without its scheme: whoever forgot it has typed the password all the same.
    """
    scheme, mark, rest = text.partition("://")
    if mark:
        return mask(f"{scheme}{mark}{_masked_rest(rest)}")
    return mask(_masked_rest(text) if ":" in text.partition("@")[0] else text)


#: What a URL is taken to end at.
_URL_CHARACTER = r"[^\s\"'<>]"

#: From behind the scheme, whose letters need not be looked at. Slashes may be escaped, as in JSON.
_URL = re.compile(rf"(:(?:\\?/){{2}})({_URL_CHARACTER}+)")

#: A query of a URL without its host, as libraries for HTTP tell it: `?name=…`.
_QUERY = re.compile(rf"\?(?!\[secret\])(?=[\w.~%\[\]-]{{1,64}}=){_URL_CHARACTER}+")
_QUERY_MASKED = f"?{MARK}"

#: How tokens of this service begin, which `token new` makes.
_TOKEN_START = "bgc_"
_OWN_TOKEN = re.compile(r"bgc_[A-Za-z0-9_-]{20,}")

#: A name in front of a value: what follows it, with the quotes of JSON, of Python, or escaped ones.
_QUOTE = r"\\{0,3}[\"']"

#: Ids and DIDs are known to everybody.
_PUBLIC = r"(?!\[secret\]|did:[a-z]+:|of:|fid1:|baedrei)"

#: A header of HTTP: of a dict or a list of pairs, of a text in quotes, or to the end of its line.
#: Each of these patterns begins with a set of letters, which is what makes looking for it quick.
_HEADER_NAME = (
    r"(?i:authorization|proxy-authorization|cookie|set-cookie"
    r"|x-(?:[a-z]{1,20}-){0,3}(?:key|token|secret))"
)
_HEADER_IN_QUOTES = re.compile(
    rf"([\"'])({_HEADER_NAME}\s?:(?!\s?\[secret\])\s?)(?:(?!\1)[^\r\n])+(?=\1)"
)
_HEADER = re.compile(
    rf"((?=[pPaAsScCxX])(?:(?<![\w-])|(?<=\\[nr])){_HEADER_NAME})"
    rf"(?:({_QUOTE}\s?[:,=]\s?b?)({_QUOTE})(?!\[secret\])(?:(?!\3)[^\r\n])+"
    r"|(\s?[:=](?!\s?\[secret\])\s?)(?:(?!\\[rn])[^\r\n])+)"
)

#: A name that says that its value is secret: the word by itself, or at the end of a longer name.
#: `key` also ends ordinary words: there it needs a mark or a capital, or a word that goes with it.
_ASSIGNED = re.compile(
    r"([tTsSpPkK](?i:(?<=t)oken|(?<=s)ecret|(?<=p)ass(?:word|wd|phrase|(?<=[_-]pass))"
    r"|(?<=k)ey(?:(?<![^\W\d_]key)|(?<=apikey)|(?<=accesskey)|(?<=authkey)|(?<=privatekey)"
    r"|(?<=secretkey)|(?<=accountkey)|(?<=signingkey)|(?-i:(?<=[a-z]Key)))))"
    # `"token": "…"`, `'token': '…'`; `token="…"`, `token = '…'`.
    rf"(?:((?:{_QUOTE}\s?:|\s?={{1,2}})\s?b?)({_QUOTE}){_PUBLIC}(?:(?!\3)(?:\\.|[^\\\r\n]))+"
    # `"token": 17`.
    rf"|({_QUOTE}\s?:\s?)(?![nN](?:ull|one)\b|[tT]rue\b|[fF]alse\b|b?{_QUOTE}|\s){_PUBLIC}"
    r"[^\s,}\]\[{\"']+"
    # `token=…`, to the next blank; a bracket or a stop behind it is none of it.
    rf"|(={{1,2}})(?!=){_PUBLIC}[^\s&\"']*[^\s&\"'),;.\]}}>])"
)


#: What stands for what a pattern finds: its groups are the name, and what is between it and its
#: value, in one of several forms.
_HEADER_IN_QUOTES_MASKED = rf"\1\2{MARK}"
_HEADER_MASKED = rf"\1\2\3\4{MARK}"
_ASSIGNED_MASKED = rf"\1\2\3\4\5{MARK}"


def _masked_url(found: re.Match[str]) -> str:
    return found[1] + _masked_rest(found[2])


def _masked_rest(rest: str) -> str:
    """Mask what stands behind the slashes of a URL."""
    authority = re.match(r"[^/?#\\]*", rest)
    host = authority[0] if authority is not None else ""
    if "@" in host:
        rest = f"{MARK}@{rest[host.rindex('@') + 1 :]}"
    elif _is_no_port(host) and "@" in rest:
        # A password with a slash in it: what follows the colon is no port.
        rest = f"{MARK}@{rest[rest.rindex('@') + 1 :]}"
    head, mark, query = rest.partition("?")
    if mark and query and not query.startswith(MARK):
        _, hash_mark, anchor = query.partition("#")
        # What stands behind the hash is masked by its names.
        rest = f"{head}?{MARK}{hash_mark}{anchor}"
    return rest


def _is_no_port(host: str) -> bool:
    _, colon, port = host.rpartition(":")
    return bool(colon) and not port.isdigit() and "]" not in port and "[" not in host


def _leaves(value: Any) -> Iterator[str | int | float]:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending += one.values()
        elif isinstance(one, list):
            pending += one
        elif isinstance(one, str | int | float) and not isinstance(one, bool):
            yield one
