"""Hostile values: what flags, variables, arguments, files and bodies are tried with.

Each has a short name, so that a failing case can be read. Used by the tables of this folder.
"""

from __future__ import annotations

from typing import Any

#: What somebody may write where a text is read.
TEXTS = {
    "empty": "",
    "blank": " \t ",
    "newline": "a\nb",
    "carriage return": "a\rError: forged",
    "nul": "a\0b",
    "escape": "\x1b[31mred\x1b[0m",
    "bell": "\x07",
    "delete": "\x7f",
    "line separator": "a\u2028b",
    "override": "\u202egnp.exe",
    "lone surrogate": "\ud800",
    "undecodable byte": "\udcff",
    "not a character": "\uffff",
    "combining": "e" + "\u0301" * 500,
    "digits of others": "\u0661\u0662\u0663",
    "fullwidth": "\uff11",
    "zero": "0",
    "minus": "-1",
    "minus zero": "-0",
    "plus": "+5",
    "nan": "nan",
    "infinity": "inf",
    "minus infinity": "-Infinity",
    "exponent": "1e309",
    "small": "1e-400",
    "huge number": "9" * 400,
    "more than 64 bits": str(2**64),
    "hexadecimal": "0x10",
    "underscored": "1_000",
    "true": "true",
    "null": "null",
    "object": "{}",
    "deep": "[" * 50_000,
    "nested": '{"a":' * 2000 + "1" + "}" * 2000,
    "cut off": '{"a": [1, 2',
    "duplicate keys": '{"a": 1, "a": 2}',
    "traversal": "../../../../../../etc/passwd",
    "encoded traversal": "..%2f..%2fetc%2fpasswd",
    "absolute": "/etc/passwd",
    "device": "/dev/full",
    "slashes": "////",
    "dots": "..",
    "home": "~nobody-has-this-name/x",
    "percent": "%s%n%x%00",
    "braces": "{0.__class__}",
    "shell": "$(touch /tmp/hacked); `id`",
    "sql": "'; DROP TABLE charms; --",
    "html": "<script>alert(1)</script>",
    "dashes": "--",
    "flag": "--help",
    "equals": "=",
    "comma": ",",
    "colon": ":",
    "url": "http://[::1",
    "credentials": "http://user:pass@host:99999/x",
    "scheme": "file:///etc/passwd",
    "did": "did:key:z6MkNobody",
    "long did": "did:key:z" + "6" * 5000,
    "long": "x" * 100_000,
    "long path": "a/" * 5000,
    "emoji": "\U0001f600" * 1000,
}

#: Texts that a command line can hold: no NUL is passed to a process, no half of a pair is a byte.
ARGUMENTS = {name: text for name, text in TEXTS.items() if name not in ("nul", "lone surrogate")}

#: One of each kind, for what is tried many times.
FEW_ARGUMENTS = {
    name: ARGUMENTS[name]
    for name in (
        *("empty", "newline", "escape", "undecodable byte", "nan", "minus", "huge number", "deep"),
        *("traversal", "device", "slashes", "sql", "html", "dashes", "long did", "long path"),
    )
}

#: What somebody may send where a JSON value is read.
JSON_VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus": -1,
    "fraction": 0.5,
    "large": 2**63,
    "huge": 10**400,
    "small": 5e-324,
    "array": [],
    "array of nulls": [None] * 10,
    "object": {},
    "odd object": {"": {"\0": ["\ud800"]}, "$stream": True, "__proto__": 1, "$alias": {}},
    **{f"text: {name}": text for name, text in TEXTS.items()},
}

#: One of each kind, for members of bodies and parts of addresses.
FEW_TEXTS = {
    **FEW_ARGUMENTS,
    **{name: TEXTS[name] for name in ("nul", "lone surrogate", "dots", "blank", "override")},
}
FEW_JSON_VALUES = {
    **{name: value for name, value in JSON_VALUES.items() if not name.startswith("text: ")},
    **FEW_TEXTS,
}

#: Bodies as bytes.
BODIES = {
    "nothing": b"",
    "blank": b" \n",
    "zeros": b"\0" * 100,
    "binary": bytes(range(256)) * 10,
    "not utf-8": b'{"a": "\xff\xfe"}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "mark": b"\xef\xbb\xbf{}",
    "cut off": b'{"a": ',
    "word": b"abc",
    "nan": b"NaN",
    "infinity in an object": b'{"event": Infinity, "seconds": 1e999}',
    "deep array": b"[" * 200_000 + b"]" * 200_000,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "duplicate members": b'{"space": 1, "space": 2}',
    "lone surrogate": b'{"space": "\\ud800", "name": "\\udfff", "source": "\\ud800"}',
    "two values": b"{} {}",
    "null": b"null",
    "number": b"1",
    "text": b'"x"',
    "array": b"[]",
    "array of arrays": b"[[]]",
    "object": b"{}",
    "unknown members": b'{"nobody": 1, "knows": [], "these": {}}',
    "form": b"name=x&value=1",
    "huge number": b"9" * 5000,
    "many members": b"{" + b",".join(b'"m%d": 1' % n for n in range(20_000)) + b"}",
}

#: What somebody may say of a body.
CONTENT_TYPES = (
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "application/octet-stream",
    "application/json; charset=utf-16",
    "nonsense",
    "",
)
