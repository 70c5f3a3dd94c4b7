"""duckdb: SQL over a table in memory.

Extensions cannot be downloaded into its home, which is emptied after each run.
"""

import duckdb

from bg_charm_service import Charm


class DuckdbQuery(Charm):
    """Asks for the largest group."""

    found: list[int] = []

    def bg_updater(self, event: dict) -> None:
        with duckdb.connect() as connection:
            connection.execute("CREATE TABLE t AS SELECT range AS n FROM range(100000)")
            question = "SELECT n % 7 AS g, sum(n) AS s FROM t GROUP BY g ORDER BY s DESC LIMIT 1"
            self.found = [int(each) for each in connection.execute(question).fetchone()]
