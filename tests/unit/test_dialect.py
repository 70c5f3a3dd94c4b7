"""What SQLite's texts are called on PostgreSQL."""

from __future__ import annotations

import pytest

from bg_charm_service.storage.postgres.dialect import translate

CALLED = {
    "SELECT name FROM spaces WHERE did = ? AND name = ?": (
        "SELECT name FROM spaces WHERE did = $1 AND name = $2"
    ),
    "UPDATE cells SET value = ?2 WHERE cell_key = ?1 AND ':x?' = ''": (
        "UPDATE cells SET value = $2 WHERE cell_key = $1 AND ':x?' = ''"
    ),
    "SELECT 1 FROM waits INDEXED BY waits_by_host CROSS JOIN charms AS c NOT INDEXED ON 1 = 1": (
        "SELECT 1 FROM waits JOIN charms AS c ON 1 = 1"
    ),
    "SELECT 1 FROM (SELECT value AS wanted FROM json_each(?)) AS given": (
        "SELECT 1 FROM (SELECT unnest(translate($1, '[]', '{}')::bigint[]) AS wanted) AS given"
    ),
    "SELECT 1 WHERE 'a' IN (SELECT value AS word FROM json_each(?))": (
        "SELECT 1 WHERE 'a' IN (SELECT json_array_elements_text($1::json) AS word)"
    ),
    "UPDATE health SET due_at = min(due_at, ?), last_run = max(last_run, 3)": (
        "UPDATE health SET due_at = least(due_at, $1), last_run = greatest(last_run, 3)"
    ),
    "SELECT max(charm_key) FROM charms WHERE name LIKE ? AND substr(charm_id, -4) = ?": (
        "SELECT max(charm_key) FROM charms WHERE name ILIKE $1 AND right(charm_id, 4) = $2"
    ),
    "SELECT 1 FROM charms AS c WHERE (c.name COLLATE NOCASE, 1) > (? COLLATE NOCASE, ?)": (
        "SELECT 1 FROM charms AS c WHERE (lower(c.name), 1) > (lower($1), $2)"
    ),
    "SELECT length(CAST(key AS BLOB)), x'', typeof(value) = 'real' FROM items": (
        "SELECT length(convert_to(key, 'UTF8')), ''::bytea, value IS NOT NULL FROM items"
    ),
    "INSERT OR IGNORE INTO sources VALUES (?, ?)": (
        "INSERT INTO sources VALUES ($1, $2) ON CONFLICT DO NOTHING"
    ),
    "INSERT OR REPLACE INTO freshness VALUES (?, ?, ?)": (
        "INSERT INTO freshness VALUES ($1, $2, $3) ON CONFLICT (charm_key, field)"
        " DO UPDATE SET stale_at = excluded.stale_at"
    ),
}


@pytest.mark.parametrize("text", CALLED)
def test_text_is_called_so(text: str) -> None:
    """By the rules, and nothing inside of quotes is touched."""
    assert CALLED[text] == translate(text).text


def test_parameters_by_name_have_an_order() -> None:
    """Each has one place, however often it is named."""
    found = translate("SELECT 1 FROM waits WHERE kind = :kind OR until > :now AND kind <> :kind")
    assert ("kind", "now") == found.names
    assert "SELECT 1 FROM waits WHERE kind = $1 OR until > $2 AND kind <> $1" == found.text


def test_key_of_a_new_row_is_told() -> None:
    """Where the database gives it out."""
    new = translate("INSERT INTO spaces (did, name, created_at) VALUES (?, ?, ?)")
    assert f"{new.text} RETURNING space_key" == new.with_key
    other = translate("INSERT INTO registrations VALUES (?, ?, ?, ?)")
    assert other.text == other.with_key


MANY = {
    "UPDATE cells SET version = version + 1, value = ?1 WHERE cell_key = ?2": (
        "UPDATE cells SET version = version + 1, value = given.p1"
        " FROM unnest($1::bytea[], $2::bigint[]) AS given (p1, p2) WHERE cell_key = given.p2"
    ),
    "DELETE FROM items WHERE collection_key = ? AND key = ?": (
        "DELETE FROM items USING unnest($1::bigint[], $2::text[]) AS given (p1, p2)"
        " WHERE collection_key = given.p1 AND key = given.p2"
    ),
    "INSERT INTO run_chunks (chunk_key, oldest) VALUES (?, ?)": (
        "INSERT INTO run_chunks (chunk_key, oldest) SELECT given.p1, given.p2"
        " FROM unnest($1::bigint[], $2::double precision[]) AS given (p1, p2)"
    ),
    # What is compared otherwise, or may change a row that is there, goes a row at a time.
    "DELETE FROM runs WHERE run_key BETWEEN ? AND ?": None,
    "UPDATE waits SET until = ?1 WHERE until > ?1": None,
    "INSERT OR REPLACE INTO freshness VALUES (?, ?, ?)": None,
    "SELECT 1 FROM charms WHERE charm_key = ?": None,
}


@pytest.mark.parametrize("text", MANY)
def test_form_for_many_rows(text: str) -> None:
    """Parameters that are compared with columns, or set them, become arrays of their types."""
    many = translate(text).many
    assert MANY[text] == (many and many.text)
