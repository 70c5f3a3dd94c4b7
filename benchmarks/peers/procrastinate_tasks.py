"""The task as procrastinate's documentation has it; `POSTGRES` says how to connect."""

from __future__ import annotations

import os

from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=os.environ["POSTGRES"]))


async def count_on(counter: int) -> int:
    """Count."""
    return counter + 1


count = app.task(name="count_on")(count_on)
