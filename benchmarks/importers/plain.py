"""A plain script that imports a mailbox or a calendar into SQLite: a commit for each portion.

It uses the clients that the service ships for authors, and reads mails and events by the very
functions of the shipped charms. No walls, no supervisor, no checks, no history. As a program it
prints what it took, as JSON: `python -m benchmarks.importers.plain mail PORT USER PASSWORD FILE`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sqlite3
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from bg_charm_service import CalDav, HttpClient, Imap, UidSet, calendar_events

ROOT = Path(__file__).parents[2]

#: So many polls are measured.
POLLS = 20

_MOST_SECONDS = 600.0


def charm_module(name: str) -> ModuleType:
    """Load the file of a shipped charm, for the functions in it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "charms" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def open_file(path: str) -> sqlite3.Connection:
    """Open the database of a script, as safe against a loss of power as the service's."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE IF NOT EXISTS items (key TEXT PRIMARY KEY, value TEXT)")
    database.execute("CREATE TABLE IF NOT EXISTS sources (key TEXT PRIMARY KEY, value TEXT)")
    return database


def import_mail(port: int, user: str, password: str, path: str) -> dict[str, float]:
    """Import a mailbox; gives seconds, and milliseconds of processor time for a poll after it."""
    charm, database = charm_module("mail_importer"), open_file(path)
    began = time.monotonic()
    with Imap("127.0.0.1", user, password, port=port, is_plain=True) as imap:
        news = imap.open("INBOX", None)
        wanted = UidSet([(1, news.point.next_uid - 1)])
        while wanted:
            uids, wanted = imap.newest(wanted, charm.PORTION)
            heads = imap.heads(uids)
            for uid, data in imap.fetch_each(heads, most_bytes=charm.MOST_BYTES):
                assert isinstance(data, bytes)
                mail = charm.read_mail(uid, heads[uid], data)
                row = charm.key_of(uid), mail.model_dump_json()
                database.execute("INSERT OR REPLACE INTO items VALUES (?, ?)", row)
            database.commit()
    seconds = time.monotonic() - began

    def poll() -> None:
        with Imap("127.0.0.1", user, password, port=port, is_plain=True) as imap:
            found = imap.open("INBOX", news.point)
            assert not found.changed
            assert not found.vanished
            (count,) = database.execute("SELECT count(*) FROM items").fetchone()
            assert count == found.count

    return {"seconds": seconds, "poll_ms": _poll_ms(poll)}


def import_calendar(url: str, path: str) -> dict[str, float]:
    """Import a calendar; gives seconds, and milliseconds of processor time for a poll after it."""
    return asyncio.run(_import_calendar(url, path))


async def _import_calendar(url: str, path: str) -> dict[str, float]:
    charm, database = charm_module("calendar_importer"), open_file(path)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    window = today - timedelta(30), today + timedelta(365)
    began = time.monotonic()
    async with _client() as http:
        calendar = CalDav(http, url)
        changes = await calendar.changes("", {})
        names = sorted(changes.changed)
        for place in range(0, len(names), charm.PORTION):
            found = await calendar.fetch(names[place : place + charm.PORTION])
            for name, item in found.items():
                reading = calendar_events(item.text, *window)
                events = {charm.key_of(name, e): charm.event_of("", e) for e in reading.events}
                database.executemany(
                    "INSERT OR REPLACE INTO items VALUES (?, ?)",
                    [(key, one.model_dump_json()) for key, one in events.items()],
                )
                kept = json.dumps([item.etag, item.text, sorted(events)])
                database.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", (name, kept))
            database.commit()
    seconds = time.monotonic() - began

    async def poll() -> None:
        async with _client() as http:
            found = await CalDav(http, url).changes(changes.token, changes.changed)
            assert not found.changed
            assert not found.removed

    started = time.process_time()
    for _ in range(POLLS):
        await poll()
    return {"seconds": seconds, "poll_ms": (time.process_time() - started) * 1000 / POLLS}


def _client() -> HttpClient:
    return HttpClient(lambda: _MOST_SECONDS, auth=("me", "any"), timeout=_MOST_SECONDS / 2)


def _poll_ms(poll: Callable[[], Any]) -> float:
    started = time.process_time()
    for _ in range(POLLS):
        poll()
    return (time.process_time() - started) * 1000 / POLLS


def main(kind: str, *given: str) -> None:
    """Import as the arguments say, and print what that took."""
    if kind == "mail":
        port, user, password, path = given
        found = import_mail(int(port), user, password, path)
    else:
        found = import_calendar(*given)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
