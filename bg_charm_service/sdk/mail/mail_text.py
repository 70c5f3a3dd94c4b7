"""The text of a mail, as a person reads it: what every author of a mail charm gets wrong once.

Chooses among the parts, reads charsets that Python's `email` refuses, and makes Markdown of HTML,
which is made safe first. Attached files and attached mails are none of it. Imported by authors;
the libraries for HTML are loaded when there is HTML.
"""

from __future__ import annotations

import codecs
import re
from base64 import b64decode, urlsafe_b64decode
from binascii import a2b_qp
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.parser import BytesHeaderParser
from html import unescape
from typing import Any, Final

#: Parts lie in each other to this depth; what is deeper is left out.
_MOST_DEPTH: Final = 50

#: Of one mail so many parts are looked at.
_MOST_PARTS: Final = 1000

#: So much HTML is made into Markdown, in characters: it takes 2 s for a million.
_MOST_HTML: Final = 1_000_000

#: Charsets by the names that mails have for them, and Python has not, or has a narrower one for:
#: as https://encoding.spec.whatwg.org has them, and the registry of IANA.
_CHARSETS: Final = {
    "ascii": "cp1252",
    "us-ascii": "cp1252",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "iso-8859-8-e": "iso8859-8",
    "iso-8859-8-i": "iso8859-8",
    "csiso88598e": "iso8859-8",
    "csiso88598i": "iso8859-8",
    "logical": "iso8859-8",
    "iso-8859-6-e": "iso8859-6",
    "iso-8859-6-i": "iso8859-6",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "windows-874": "cp874",
    "dos-874": "cp874",
    "windows-31j": "cp932",
    "cswindows31j": "cp932",
    "ms_kanji": "cp932",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601-1989": "cp949",
    "ksc5601": "cp949",
    "euc-kr": "cp949",
    "windows-949": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "chinese": "gb18030",
    "hz-gb-2312": "hz",
    "big5": "cp950",
    "x-x-big5": "cp950",
    "big5-hkscs": "big5hkscs",
    "csutf8": "utf-8",
    "utf8mb4": "utf-8",
    "unicode-1-1-utf-8": "utf-8",
    "unicode-1-1-utf-7": "utf-7",
    "csutf16": "utf-16",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic",
    "x-user-defined": "cp1252",
    "x-unknown": "cp1252",
    "unknown-8bit": "cp1252",
    "8bit": "cp1252",
    "default": "cp1252",
}

#: What Python calls encodings, and no mail is written in.
_NO_CHARSETS: Final = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"}

#: RFC 1456, which Python does not have: six letters stand among the control characters.
_VISCII: Final = (
    "\x00\x01Ẳ\x03\x04ẴẪ\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13Ỷ\x15\x16\x17\x18Ỹ\x1a\x1b"
    "\x1c\x1dỴ\x1f"
    + "".join(map(chr, range(32, 128)))
    + "ẠẮẰẶẤẦẨẬẼẸẾỀỂỄỆỐỒỔỖỘỢỚỜỞỊỎỌỈỦŨỤỲÕắằặấầẩậẽẹếềểễệốồổỗỠƠộờởịỰỨỪỬơớƯÀÁÂÃẢĂẳẵÈÉÊẺÌÍĨỳĐứÒÓÔạỷừử"
    "ÙÚỹỵÝỡưàáâãảăữẫèéêẻìíĩỉđựòóôõỏọụùúũủýợỮ"
)

_TAG: Final = re.compile(r"<[^>]*>")
_FOLD: Final = re.compile(r"[\r\n]+([ \t])")
_BETWEEN_WORDS: Final = re.compile(r"(?<=\?=)\s+(?==\?)")

#: An encoded word of a header (RFC 2047, 2), also with a language (RFC 2231, 5).
_WORD: Final = re.compile(r"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_BLANK_LINES: Final = re.compile(r"\n{3,}")


def mail_text(message: Message | bytes | Mapping[str, Any], *, limit: int | None = None) -> str:
    """Give the text of a mail, without what is attached; at most `limit` characters.

    `message` is one of Python's `email`, a mail in bytes, or the `payload` of one by Gmail's API.
    Of the same text in several forms the plain one is taken; HTML is given as Markdown. What does
    not fit its charset is shown by marks: nothing in a mail makes this fail.
    """
    if isinstance(message, bytes):
        part = _part_of(_read(message))
    elif isinstance(message, Message):
        part = _part_of(message)
    else:
        part = _gmail_part(message)
    texts = (_tidy(text) for text in _texts(part, 0, [_MOST_PARTS]))
    text = "\n\n".join(filter(None, texts))
    if limit is not None and len(text) > limit:
        text = f"{text[: max(0, limit - 1)].rstrip()}…"
    return text


def mail_header(
    message: Message | bytes | Mapping[str, Any], name: str, *, limit: int | None = None
) -> str:
    """Give a header of a mail as a person reads it, on one line; empty where there is none.

    `message` is what `mail_text` takes. Of several the first counts. Nothing in a mail makes this
    fail.
    """
    if isinstance(message, bytes):
        message = BytesHeaderParser().parsebytes(message)
    headers = _raw_headers(message) if isinstance(message, Message) else _gmail_headers(message)
    raw = next((text for key, text in headers if key.lower() == name.lower()), "")
    # As it stands there: Python holds bytes that are not ASCII as surrogates.
    text = decode_text(_header_bytes(raw), "")
    text = " ".join(_decoded(_FOLD.sub(r"\1", text)).replace("\0", "").split())
    if limit is not None and len(text) > limit:
        text = f"{text[: max(0, limit - 1)].rstrip()}…"
    return text


def safe_html(html: str) -> str:
    """Give HTML without scripts, forms, frames and handlers: what may be shown on a page."""
    import nh3

    return nh3.clean(html, clean_content_tags={"script", "style", "title", "template"})


def html_text(html: str, *, base_url: str = "") -> str:
    """Give HTML as Markdown: made safe first, since Markdown may hold what HTML held.

    Links that are relative are so to `base_url`.
    """
    import html2text

    maker = html2text.HTML2Text(bodywidth=0, baseurl=base_url)
    maker.ignore_images = True
    maker.unicode_snob = True
    maker.wrap_links = False
    safe = safe_html(html[:_MOST_HTML])
    try:
        return maker.handle(safe)
    except Exception:
        # It is a program about texts of strangers: then without the marks of Markdown.
        return unescape(_TAG.sub(" ", safe))


@dataclass(slots=True)
class _Part:
    """One part of a mail: what kind it is, what it holds, and the parts in it."""

    kind: str
    charset: str
    is_attached: bool
    #: Read when it is wanted: attached files are large.
    data: Callable[[], bytes]
    parts: list[_Part] = field(default_factory=list)


def _texts(part: _Part, depth: int, left: list[int]) -> Iterator[str]:
    """The texts of a part and of those in it, in their order."""
    left[0] -= 1
    if depth > _MOST_DEPTH or left[0] < 0 or (depth and part.is_attached):
        return
    if part.kind == "multipart/alternative":
        yield from _best(part, depth, left)
    elif part.kind == "multipart/related":
        # The others are its pictures.
        for one in part.parts[:1]:
            yield from _texts(one, depth + 1, left)
    elif part.kind.startswith("multipart/"):
        for one in part.parts:
            yield from _texts(one, depth + 1, left)
    elif part.kind == "text/plain":
        yield decode_text(part.data(), part.charset)
    elif part.kind == "text/html":
        yield html_text(decode_text(part.data(), part.charset))


def _best(part: _Part, depth: int, left: list[int]) -> Iterator[str]:
    """One of several forms of a text: the plain one, unless there is nothing in it."""
    plain = [one for one in part.parts if one.kind == "text/plain"]
    others = [one for one in reversed(part.parts) if one.kind != "text/plain"]
    for one in (*plain, *others):
        texts = [text for text in _texts(one, depth + 1, left) if text.strip()]
        if texts:
            yield from texts
            return


def decode_text(data: bytes, charset: str) -> str:
    """Read bytes of a mail; what the charset does not have becomes a mark."""
    name = charset.strip().strip("\"'").lower()
    if name in ("viscii", "csviscii"):
        return codecs.charmap_decode(data, "replace", _VISCII)[0]
    name = _CHARSETS.get(name, name)
    if name in ("", "cp1252"):
        # Who says nothing, or the least, often means this.
        with suppress(UnicodeDecodeError):
            return data.decode("utf-8")
        name = "cp1252"
    try:
        if codecs.lookup(name).name.replace("-", "_") in _NO_CHARSETS:
            raise LookupError(name)
        return data.decode(name, "replace")
    except (LookupError, ValueError):
        # Unknown, or no charset at all: ValueError for a name with a zero in it.
        pass
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _raw_headers(message: Message) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = _asked(
        lambda: [(key, str(text)) for key, text in message.raw_items()], []
    )
    return found


def _header_bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Of a mail that a program has made.
        return text.encode("utf-8", "replace")


def _decoded(text: str) -> str:
    """Read the encoded words of a header.

    Neighbours of one charset are read together: letters of several bytes are cut between them,
    which RFC 2047 forbids, and is often seen.
    """
    found: list[str] = []
    charset, pending, end = "", b"", 0
    text = _BETWEEN_WORDS.sub("", text)
    for word in _WORD.finditer(text):
        name = word[1].lower()
        between = text[end : word.start()]
        if pending and (between or name != charset):
            found.append(decode_text(pending, charset))
            pending = b""
        found.append(between)
        charset, end = name, word.end()
        pending += _word_bytes(word[2], word[3])
    if pending:
        found.append(decode_text(pending, charset))
    return "".join((*found, text[end:]))


def _word_bytes(encoding: str, text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    if encoding in "qQ":
        return a2b_qp(data, header=True)
    with suppress(ValueError):
        # What is missing at the end is often left out.
        return b64decode(data + b"=" * (-len(data) % 4))
    return data


def _read(mail: bytes) -> Message:
    # Not by the newer policy: it fails at some headers.
    try:
        return message_from_bytes(mail)
    except RecursionError:
        # Parts in parts, without end.
        return BytesHeaderParser().parsebytes(mail)


def _part_of(message: Message, depth: int = 0) -> _Part:
    """What Python's `email` read."""
    kind = _asked(message.get_content_type, "text/plain")
    payload = _asked(message.get_payload, None)
    # Forms that are no text of this mail have parts too: message/rfc822 is a mail of its own.
    parts = payload if kind.startswith("multipart/") and isinstance(payload, list) else []
    if kind.startswith("multipart/") and not isinstance(payload, list):
        # It says that it has parts, and has none.
        kind = "text/plain"
    return _Part(
        kind=kind,
        charset=str(_asked(message.get_content_charset, None) or ""),
        is_attached=_asked(message.get_content_disposition, None) == "attachment"
        or bool(_asked(message.get_filename, None)),
        data=lambda: _payload(message),
        parts=[
            _part_of(one, depth + 1)
            for one in parts
            if isinstance(one, Message) and depth < _MOST_DEPTH
        ],
    )


def _payload(message: Message) -> bytes:
    with suppress(Exception):
        found = message.get_payload(decode=True)
        if isinstance(found, bytes):
            return found
    with suppress(Exception):
        # Of a mail that a program has made.
        return str(message.get_payload()).encode("utf-8", "surrogateescape")
    return b""


def _asked(ask: Callable[[], Any], otherwise: Any) -> Any:
    """Ask for a header: a mail of somebody's may hold one that cannot be read."""
    try:
        return ask()
    except Exception:
        return otherwise


def _gmail_part(payload: Mapping[str, Any], depth: int = 0) -> _Part:
    """What Gmail's API gives: its parts as JSON, mostly in UTF-8, whatever they say."""
    headers = {key.lower(): text for key, text in _gmail_headers(payload)}
    head = Message()
    head["Content-Type"] = headers.get("content-type") or payload.get("mimeType") or "text/plain"
    disposition = headers.get("content-disposition", "").partition(";")[0].strip().lower()
    body = payload.get("body") or {}
    return _Part(
        kind=str(payload.get("mimeType") or head.get_content_type()).lower(),
        charset=str(_asked(head.get_content_charset, None) or ""),
        is_attached=disposition == "attachment" or bool(payload.get("filename")),
        data=lambda: _from_base64(body.get("data") or ""),
        parts=[
            _gmail_part(one, depth + 1) for one in payload.get("parts") or () if depth < _MOST_DEPTH
        ],
    )


def _gmail_headers(payload: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (str(one.get("name", "")), str(one.get("value", "")))
        for one in payload.get("headers") or ()
    ]


def _from_base64(text: str) -> bytes:
    with suppress(ValueError):
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return b""


def _tidy(text: str) -> str:
    """Without zeros, ends of lines of others, and more than one blank line in a row."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").split("\n")
    return _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in lines)).strip()
