"""psycopg: a database that is not there.

The port is open to it: this is no refusal of a wall.
"""

from urllib.parse import urlsplit

import psycopg

from bg_charm_service import Charm


class PsycopgNobody(Charm):
    """Connects to PostgreSQL."""

    nobody: str = ""

    def bg_updater(self, event: dict) -> None:
        port = urlsplit(self.nobody).port
        psycopg.connect(f"host=127.0.0.1 port={port} dbname=some user=some")
