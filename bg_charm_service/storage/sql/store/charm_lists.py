"""Lists of charms: searched, filtered, in an order, page by page, quick for any number of them.

A filter or a search that finds few charms is answered from those; any other walks the index of
the order from where the last page ended. What changes with every run has no index: those orders
read the records of all runs, which are small, and no more charms than the page may need.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.merkle import is_merkle_id
from bg_charm_service.storage.records import SLOW_MS, CharmFilter, CharmOrder, CharmRecord, Standing
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.keys import KEYS
from bg_charm_service.storage.sql.store.charms import COLUMNS, charm_record

#: A filter that finds no more charms than this is answered from them.
FEW = 2000

#: Of an order without an index so many charms are looked at first, before all of them are, so
#: many of those at a time.
FIRST_LOOK = 4000
_SLICE = 100

#: Shorter texts are looked for at the beginning of names only.
_TRIGRAM = 3

_CHARM_COLUMNS = ", ".join(f"c.{name.strip()}" for name in COLUMNS.split(","))


@dataclass(frozen=True, slots=True)
class _Order:
    value: str
    source: str
    is_descending: bool
    has_index: bool = True

    @property
    def terms(self) -> str:
        direction = "DESC" if self.is_descending else "ASC"
        return f"{self.value} {direction}, {self._key} {direction}"

    @property
    def is_behind(self) -> str:
        place = "? COLLATE NOCASE" if "NOCASE" in self.value else "?"
        return f"({self.value}, {self._key}) {'<' if self.is_descending else '>'} ({place}, ?)"

    @property
    def _key(self) -> str:
        return "h.charm_key" if self.is_descending else "c.charm_key"


_HEALTH = "health AS h {} CROSS JOIN charms AS c ON c.charm_key = h.charm_key"
_ORDERS = {
    CharmOrder.ADDED: _Order("c.charm_key", "charms AS c NOT INDEXED", is_descending=False),
    CharmOrder.NAME: _Order(
        "c.name COLLATE NOCASE", "charms AS c INDEXED BY charms_by_name", is_descending=False
    ),
    CharmOrder.LAST_RUN: _Order(
        "h.last_run", _HEALTH.format(""), is_descending=True, has_index=False
    ),
    CharmOrder.DURATION: _Order(
        "h.last_ms", _HEALTH.format(""), is_descending=True, has_index=False
    ),
    CharmOrder.FAILURES: _Order(
        "h.consecutive_failures",
        _HEALTH.format("INDEXED BY health_by_failures"),
        is_descending=True,
    ),
}

_FROM_KEYS = (
    f"{KEYS} CROSS JOIN charms AS c ON c.charm_key = wanted"
    " JOIN health AS h ON h.charm_key = c.charm_key"
)

#: Where a page ended: what the order goes by, and the charm's key.
_Place = tuple[object, int]

#: A condition on a charm, and a query that finds those that meet it, each with its parameters.
_Sql = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class _Condition:
    holds: _Sql
    found_by: _Sql | None


class CharmLists:
    """Pages of charms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, wanted: CharmFilter, order: CharmOrder, cursor: str, limit: int
    ) -> tuple[list[CharmRecord], str | None]:
        """Charms from behind a cursor, and the next page's; None at the end.

        Raises InvalidInput for a cursor that this order never gave.
        """
        conditions = list(_conditions(wanted))
        sorting = _ORDERS[order]
        behind = None if cursor in ("", "0") else _read_cursor(cursor, order)
        few = self._few(conditions)
        if few is None and not sorting.has_index:
            rows = self._from_first(conditions, sorting, behind, limit + 1)
        else:
            rows = self._rows(few, conditions, sorting, behind, limit + 1)
        records = [charm_record(row[:-1]) for row in rows[:limit]]
        if len(rows) <= limit:
            return records, None
        last_value, last_key = rows[limit - 1][-1], records[-1].charm_key
        return records, _write_cursor(last_value, last_key, order)

    def _rows(
        self,
        keys: list[int] | None,
        conditions: list[_Condition],
        sorting: _Order,
        behind: _Place | None,
        limit: int,
    ) -> list[Any]:
        """The charms that meet all conditions, in order, of some or of all."""
        source = sorting.source if keys is None else _FROM_KEYS
        if "health" not in source:
            source += " JOIN health AS h ON h.charm_key = c.charm_key"
        parameters: list[Any] = [] if keys is None else [json.dumps(keys)]
        checks = ["c.removed_at IS NULL", *(one.holds[0] for one in conditions)]
        for one in conditions:
            parameters += one.holds[1]
        if behind is not None:
            checks.append(sorting.is_behind)
            parameters += behind
        return self._database.rows(
            f"SELECT {_CHARM_COLUMNS}, {sorting.value} FROM {source}"
            f" WHERE {' AND '.join(checks)} ORDER BY {sorting.terms} LIMIT ?",
            (*parameters, limit),
        )

    def _from_first(
        self, conditions: list[_Condition], sorting: _Order, behind: _Place | None, limit: int
    ) -> list[Any]:
        """The charms that meet all conditions, in an order that has no index."""
        first = self._first(sorting, behind)
        rows: list[Any] = []
        for start in range(0, len(first), _SLICE):
            keys = first[start : start + _SLICE]
            rows += self._rows(keys, conditions, sorting, None, limit - len(rows))
            if len(rows) == limit:
                return rows
        if len(first) < FIRST_LOOK:
            return rows
        return self._rows(None, conditions, sorting, behind, limit)

    def _first(self, sorting: _Order, behind: _Place | None) -> list[int]:
        """The keys of the first charms of an order that has no index: one pass over health."""
        where = f"WHERE {sorting.is_behind}" if behind is not None else ""
        rows = self._database.rows(
            f"SELECT h.charm_key FROM health AS h {where} ORDER BY {sorting.terms} LIMIT ?",
            (*(behind or ()), FIRST_LOOK),
        )
        return [row[0] for row in rows]

    def _few(self, conditions: list[_Condition]) -> list[int] | None:
        """The charms that some condition finds, when they are few."""
        for condition in conditions:
            if condition.found_by is None:
                continue
            query, parameters = condition.found_by
            rows = self._database.rows(f"{query} LIMIT {FEW + 1}", parameters)
            if len(rows) <= FEW:
                # One that is found twice, by itself and with its space, is listed once.
                return list(dict.fromkeys(row[0] for row in rows))
        return None


def _conditions(wanted: CharmFilter) -> Iterator[_Condition]:
    text = "".join(filter(str.isprintable, " ".join(wanted.text.split())))
    if text:
        yield _text_condition(text)
    if wanted.standing is Standing.STALE:
        yield _Condition(
            (
                "EXISTS (SELECT 1 FROM freshness AS f WHERE f.charm_key = c.charm_key"
                " AND f.stale_at < ?)",
                (wanted.now,),
            ),
            ("SELECT charm_key FROM freshness WHERE stale_at < ?", (wanted.now,)),
        )
    elif wanted.standing is not None:
        yield _STANDINGS[wanted.standing]
    if wanted.integration is not None:
        label, listed = wanted.integration, json.dumps(sorted(wanted.listed))
        registered = "SELECT charm_key FROM registrations WHERE integration = ?"
        also = "SELECT value AS wanted FROM json_each(?)"
        yield _Condition(
            (
                "(EXISTS (SELECT 1 FROM registrations AS r WHERE r.charm_key = c.charm_key AND"
                f" r.integration = ?) OR c.charm_key IN ({also}))",
                (label, listed),
            ),
            (f"{registered} UNION ALL {also}", (label, listed)),
        )
    if wanted.space_key is not None:
        key = (wanted.space_key,)
        found = "SELECT charm_key FROM charms WHERE space_key = ? AND removed_at IS NULL"
        yield _Condition(("c.space_key = ?", key), (found, key))


def _off(condition: str) -> _Sql:
    """A query of charms that are not polled and that meet a condition."""
    return (
        "SELECT charm_key FROM health INDEXED BY health_off"
        f" WHERE disabled_by IS NOT NULL AND {condition}",
        (),
    )


_STANDINGS = {
    Standing.FAILING: _Condition(
        ("h.consecutive_failures > 0", ()),
        ("SELECT charm_key FROM health WHERE consecutive_failures > 0", ()),
    ),
    Standing.DISABLED: _Condition(
        ("h.disabled_by IN ('failures', 'hand', 'service')", ()),
        _off("disabled_by IN ('failures', 'hand', 'service')"),
    ),
    Standing.SIGN_IN: _Condition(
        ("h.disabled_by = 'sign_in'", ()), _off("disabled_by = 'sign_in'")
    ),
    Standing.STOPPED: _Condition(
        ("h.disabled_by = 'stopped'", ()), _off("disabled_by = 'stopped'")
    ),
    Standing.WAITING: _Condition(
        (
            "EXISTS (SELECT 1 FROM waits AS w WHERE w.charm_key = c.charm_key"
            " AND w.kind IN ('wait', 'down'))",
            (),
        ),
        ("SELECT charm_key FROM waits WHERE kind IN ('wait', 'down')", ()),
    ),
    Standing.SLOW: _Condition(
        (f"h.last_ms >= {SLOW_MS}", ()),
        (f"SELECT charm_key FROM health INDEXED BY health_slow WHERE last_ms >= {SLOW_MS}", ()),
    ),
    Standing.PAUSED: _Condition(
        (
            "EXISTS (SELECT 1 FROM pauses AS p WHERE p.space_key IN (0, c.space_key)"
            " AND p.charm_key IN (0, c.charm_key))",
            (),
        ),
        (
            "SELECT charm_key FROM pauses WHERE charm_key > 0 UNION ALL"
            " SELECT c.charm_key FROM pauses AS p CROSS JOIN charms AS c ON"
            " c.space_key = p.space_key AND c.removed_at IS NULL WHERE p.charm_key = 0 UNION ALL"
            " SELECT charm_key FROM charms WHERE removed_at IS NULL AND EXISTS"
            " (SELECT 1 FROM pauses WHERE space_key = 0)",
            (),
        ),
    ),
    Standing.UNREGISTERED: _Condition(
        ("NOT EXISTS (SELECT 1 FROM registrations AS n WHERE n.charm_key = c.charm_key)", ()),
        (
            "SELECT charm_key FROM charms WHERE removed_at IS NULL AND NOT EXISTS (SELECT 1 FROM"
            " registrations WHERE registrations.charm_key = charms.charm_key)",
            (),
        ),
    ),
}


def _text_condition(text: str) -> _Condition:
    """A charm's id, whole or its last four characters behind a #, or a part of name or cause."""
    last = text.rpartition("/")[2]
    by = "SELECT charm_key FROM charms WHERE"
    if is_merkle_id(last):
        return _Condition(("c.charm_id = ?", (last,)), (f"{by} charm_id = ?", (last,)))
    if last.startswith("#") and len(last) == 5:
        tail = (last[1:],)
        condition = "substr({}charm_id, -4) = ?"
        return _Condition((condition.format("c."), tail), (f"{by} {condition.format('')}", tail))
    plain = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    if len(text) < _TRIGRAM:
        begins = (f"{plain}%",)
        return _Condition(
            ("c.name LIKE ? ESCAPE '\\'", begins), (f"{by} name LIKE ? ESCAPE '\\'", begins)
        )
    inside = f"%{plain}%"
    phrase = '"' + text.replace('"', '""') + '"'
    return _Condition(
        ("(c.name LIKE ? ESCAPE '\\' OR c.cause LIKE ? ESCAPE '\\')", (inside, inside)),
        ("SELECT rowid FROM charm_texts WHERE text MATCH ?", (phrase,)),
    )


def _write_cursor(value: object, key: int, order: CharmOrder) -> str:
    return str(key) if order is CharmOrder.ADDED else f"{key}~{json.dumps(value)}"


def _read_cursor(cursor: str, order: CharmOrder) -> tuple[object, int]:
    key, _, value = cursor.partition("~")
    try:
        number = int(key)
        read = json.loads(value) if order is not CharmOrder.ADDED else number
    except (ValueError, RecursionError):
        number, read = -1, None
    kinds = str if order is CharmOrder.NAME else (int, float)
    if not 0 <= number < 2**62 or not isinstance(read, kinds) or isinstance(read, bool):
        raise InvalidInput(f"cursor: {cursor:.100} is none that a page of this order gave.")
    return read, number
