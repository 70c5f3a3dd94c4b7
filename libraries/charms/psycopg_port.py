"""psycopg: a database at a port that is closed to it."""

import psycopg

from bg_charm_service import Charm


class PsycopgPort(Charm):
    """Connects to PostgreSQL."""

    def bg_updater(self, event: dict) -> None:
        psycopg.connect("host=127.0.0.1 port=5432 dbname=some user=some")
