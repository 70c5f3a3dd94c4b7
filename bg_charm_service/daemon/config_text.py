"""Writes a configuration file: every setting with what it means, those that are given as they are.

What is written here, config_file reads as the same values. Made for `config show --toml`, and for
docs/config.toml, which the installation takes.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from bg_charm_service.daemon.settings import SETTINGS, SYSTEM_CONFIG_FILE, Setting, Settings
from bg_charm_service.domain.quantities import size_text

_WIDTH = 96

#: What stands as an example where a setting has no default that could be written.
_EXAMPLES: Mapping[str, object] = {
    "charms": ("demo/hello",),
    "data_dir": Path("/var/lib/bg-charm-service"),
    "database": "postgresql://db.example.org/charms",
    "database_password_file": Path("/etc/bg-charm-service/database-password"),
    "listen": "0.0.0.0:8000",
    "hook_listen": "127.0.0.1:8100",
    "hook_url": "https://hooks.example.org",
    "allow_origin": ("https://example.org",),
    "service_url": "https://charms.example.org",
    "service_token": "...",
    "integrations_dir": Path("/etc/bg-charm-service/integrations"),
    "backup_every_seconds": 3600.0,
    "backup_dir": Path("/backups"),
    "backup_hook": ("/usr/local/bin/carry-away", "--to=there"),
    "notify_file": Path("/etc/bg-charm-service/notify"),
    "heartbeat": "https://example.org/ping/...",
    "log_file": Path("/var/log/bg-charm-service.log"),
    "identity_file": Path("/etc/bg-charm-service/operator.pem"),
    "package_links": "/srv/packages",
    "environment": "production",
}

_HEAD = f"""\
The configuration of bg-charm-service, for the service and for its commands.

One file counts: that of --config or BG_CHARM_CONFIG, else the user's
(~/.config/bg-charm-service/config.toml), else {SYSTEM_CONFIG_FILE}.
A flag wins over a variable of the environment, that over this file, this file over the default.
What stands behind a # is the default, or an example where there is none. Times are in seconds.
`bg-charm-service config show` says what counts and where it comes from, `config check` what is
wrong. The operator's passphrase does not belong here, but into the variable OPERATOR_PASS."""


def config_text(values: Mapping[str, object]) -> str:
    """Write a file that gives these settings, by name, and has all others as comments.

    A secret is never written, nor an address that holds a password: both stay comments.
    """
    head = "\n".join(f"# {line}".rstrip() for line in _HEAD.splitlines())
    return "\n\n".join([head, *_paragraphs(values)]) + "\n"


def toml_value(row: Setting, value: object) -> str:
    """Write the value of a setting in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # Its shortest form, as a number without an exponent: settings are no finer than 1 ms.
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, int):
        return _text(size_text(value)) if row.name.endswith("_bytes") else str(value)
    if isinstance(value, tuple):
        parts = (str(each) if isinstance(each, int) else _text(str(each)) for each in value)
        return f"[{', '.join(parts)}]"
    return _text(str(value))


def default_of(row: Setting) -> object:
    """Give a setting's default."""
    field = next(each for each in dataclasses.fields(Settings) if each.name == row.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _paragraphs(values: Mapping[str, object]) -> Iterator[str]:
    for row in SETTINGS:
        if not row.in_file:
            continue
        about = f"{row.help}. {_also(row)}".rstrip()
        lines = textwrap.wrap(about, _WIDTH, break_long_words=False, break_on_hyphens=False)
        is_given = row.name in values and not row.is_secret
        value = values[row.name] if is_given else _EXAMPLES.get(row.name, default_of(row))
        shown = row.shown(value)
        is_given = is_given and shown == value
        line = f"{row.name} = {toml_value(row, shown)}"
        yield "\n".join([*(f"# {each}" for each in lines), line if is_given else f"#{line}"])


def _also(row: Setting) -> str:
    """Say by what else a setting can be given."""
    names = [*filter(None, [row.flag]), *(variable.name for variable in row.variables)]
    return f"Also: {', '.join(names)}." if names else ""


def _text(text: str) -> str:
    # JSON's text is one of TOML too, but for one control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
