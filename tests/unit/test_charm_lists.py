"""How the embedded engine finds the charms of a list: by its indexes."""

from __future__ import annotations

from bg_charm_service.storage.records import CharmFilter, CharmOrder
from bg_charm_service.storage.sqlite.database import Database
from tests.contract.engine import SQLite
from tests.contract.test_charm_lists import fill


def test_pages_use_the_indexes() -> None:
    """Walking an order reads no more than the page needs: no step sorts, none reads a table.

    Two orders change with every run. Those sort, after one look at the records of runs alone.
    """
    plans = []
    engine = SQLite()
    fill(engine)
    database, store = engine.database, engine.store
    assert isinstance(database, Database)
    traced: list[str] = []
    database.connection.set_trace_callback(traced.append)
    for order in (CharmOrder.ADDED, CharmOrder.NAME, CharmOrder.FAILURES):
        _, cursor = store.charm_lists.page(CharmFilter(), order, "", 5)
        store.charm_lists.page(CharmFilter(), order, cursor or "", 5)
    database.connection.set_trace_callback(None)
    for sql in traced:
        plans += [row[3] for row in database.rows(f"EXPLAIN QUERY PLAN {sql}")]
    assert plans
    assert [] == [plan for plan in plans if "TEMP B-TREE" in plan and "LAST TERM" not in plan]
    engine.close()
