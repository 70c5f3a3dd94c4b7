"""Does what every charm may, behind all walls."""

import asyncio
import json
import os
import ssl
import tempfile
import threading
import zoneinfo
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import feedparser
import httpx2

from tests.hostile.charms.hostile import Hostile, ends


@ends("success")
def compute(charm: Hostile) -> object:
    """Compute."""
    return sum(range(1000))


@ends("success")
def use_the_libraries(charm: Hostile) -> object:
    """Use what is installed, also what nobody has imported before."""
    import mailbox
    import sqlite3
    import xml.dom.minidom

    found = feedparser.parse("<rss><channel><title>news</title></channel></rss>")
    with sqlite3.connect(":memory:") as database:
        database.execute("SELECT 1")
    xml.dom.minidom.parseString("<a/>")
    return [found.feed.title, mailbox.__name__, str(zoneinfo.ZoneInfo("Europe/Berlin"))]


@ends("success")
def use_scratch(charm: Hostile) -> object:
    """Write, read, list, rename and remove files in its directory."""
    folder = charm.context.scratch / "folder"
    folder.mkdir()
    (folder / "a").write_text("text")
    (folder / "a").rename(folder / "b")
    assert (folder / "b").read_text() == "text"
    with tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == charm.context.scratch
    with tempfile.TemporaryDirectory() as name:
        Path(name, "c").write_text("text")
    found = sorted(os.listdir(folder))
    (folder / "b").unlink()
    return [found, os.getcwd() == str(charm.context.scratch)]


@ends("success")
def use_threads(charm: Hostile) -> object:
    """Start threads, with Python's library for it too."""
    thread = threading.Thread(target=compute, args=(charm,))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(len, ["a", "bc"]))


@ends("success")
async def use_asyncio(charm: Hostile) -> None:
    """Wait, in tasks and in threads."""
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0.001))
        group.create_task(asyncio.to_thread(compute, charm))
    charm.loot.append(1)


@ends("success")
def connect(charm: Hostile) -> object:
    """Connect to a port that the operator allows."""
    host, port = charm.target["allowed"]
    return httpx2.get(f"http://{host}:{port}/").text


@ends("success")
def resolve_a_name(charm: Hostile) -> object:
    """Find an address by a name that this machine knows itself."""
    import socket

    return str(socket.getaddrinfo("localhost", 443, type=socket.SOCK_STREAM)[0][4][0])


@ends("success")
def make_a_context_for_encryption(charm: Hostile) -> object:
    """Load the certificates that are trusted."""
    return len(ssl.create_default_context().get_ca_certs()) > 0


@ends("success")
def write_json(charm: Hostile) -> object:
    """Keep data."""
    return json.loads('{"a": [1, 2.5, null, "text"]}')
