"""Promises of docs/migrating.md: whoever comes from the original finds what they used."""

from __future__ import annotations

import pytest

from tests.unit.pages import check_exists, rows, spans

OLD_AND_NEW = rows("docs/migrating.md", "Old commands and new ones")


@pytest.mark.parametrize("row", OLD_AND_NEW, ids=[row[0] for row in OLD_AND_NEW])
def test_what_stands_beside_an_old_command_exists(row: list[str]) -> None:
    """Each old command has something new beside it that works, or the word that it has not."""
    new = spans(row[1])

    assert new or row[1].startswith(("not needed", "not used yet"))
    for span in new:
        check_exists(span)


OLD_NAMES = """
    deno task start,deno task test,deno test src/path/to/test.ts,deno task check,deno fmt,deno lint,
    deno task gmail:kv,deno task gmail,deno task gcal,deno task discord,deno task initialize,
    deno task initialize:gmail,deno task initialize:gcal,deno task add-admin-charm,
    deno task build-binaries,./scripts/restart-local-dev.sh,./dist/bg-charm-service,--charms,
    --interval,--failures,--log-interval,--integration,--initialize,--max-concurrent,--max-retries,
    --help,--timeout,KV_STORE_DIR,MAX_CONCURRENT_JOBS,MAX_RETRIES,POLLING_INTERVAL_MS,
    CYCLE_INTERVAL_MS,LOG_INTERVAL_MS,MAX_CONSECUTIVE_FAILURES,CHARM_EXECUTION_TIMEOUT_MS,
    TOKEN_REFRESH_TIMEOUT_MS,SCAN_INTEGRATION_TIMEOUT_MS,MAINTENANCE_JOB_TIMEOUT_MS,API_URL,
    TOOLSHED_API_URL,OPERATOR_PASS,IDENTITY,OTEL_ENABLED,OTEL_SERVICE_NAME,
    OTEL_EXPORTER_OTLP_ENDPOINT,ENV
"""


@pytest.mark.parametrize("old", [name.strip() for name in OLD_NAMES.split(",")])
def test_old_names_are_there(old: str) -> None:
    """Whoever looks for what they used with the original finds it in the left column."""
    assert old in {span for row in OLD_AND_NEW for span in spans(row[0])}
