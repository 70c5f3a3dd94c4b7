"""Who applies the steps of the schema; the table `schema_version` holds the last one's number."""

from __future__ import annotations

import psycopg
from loguru import logger

from bg_charm_service.domain.errors import SchemaTooNew
from bg_charm_service.storage.postgres.schema import STEPS
from bg_charm_service.storage.postgres.session import Session

#: Whoever brings the schema up to date holds this lock, so that one does it and others wait.
_LOCK = "SELECT pg_advisory_xact_lock(7727, 1)"

_IS_THERE = "SELECT to_regclass('schema_version') IS NOT NULL"
_VERSION = "SELECT version FROM schema_version"

#: Texts of charms are found by any part of them with this; without it, by reading all of them.
_TRIGRAMS = """CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE INDEX IF NOT EXISTS charm_texts_by_part ON charm_texts USING gin (text gin_trgm_ops)"""


def stored_schema_version(session: Session) -> int:
    """Give the number of the schema; 0 for a database that has none."""
    row = session.run(_IS_THERE).fetchone()
    if row is None or not row[0]:
        return 0
    row = session.run(_VERSION).fetchone()
    return 0 if row is None else int(row[0])


def migrate(session: Session) -> None:
    """Apply the steps that are missing, in one transaction; raises SchemaTooNew untouched."""
    if _checked_version(session) == len(STEPS):
        return
    with session.connection.transaction():
        session.run(_LOCK)
        version = _checked_version(session)
        for step in STEPS[version:]:
            session.run_script(step)
        if version == 0:
            session.run("CREATE TABLE schema_version (version bigint NOT NULL)")
            session.run("INSERT INTO schema_version VALUES (0)")
        session.run("UPDATE schema_version SET version = $1", (len(STEPS),))
    if version == 0:
        _prepare_search(session)


def _checked_version(session: Session) -> int:
    version = stored_schema_version(session)
    if version > len(STEPS):
        raise SchemaTooNew(
            f"The database has schema {version}, this version of the service knows up to "
            f"{len(STEPS)}. Install the version that wrote it, or a later one; nothing was changed."
        )
    return version


def _prepare_search(session: Session) -> None:
    """Make the index of texts, where the server has what it takes and lets us."""
    try:
        with session.connection.transaction():
            session.run_script(_TRIGRAMS)
    except psycopg.Error as error:
        logger.bind(event="search_without_index").info(
            "Charms are searched without an index, since pg_trgm is not to be had: {}", error
        )
