"""Every statement of queue and store is one that the engine understands."""

from __future__ import annotations

from tests.contract.engine import Engine
from tests.contract.statements import all_statements

#: There are more; fewer would mean that they were not found.
AT_LEAST = 250


def test_every_statement_can_be_prepared(engine: Engine) -> None:
    """With its tables, columns, functions and parameters; whether it is asked elsewhere or not."""
    statements = all_statements()
    assert len(statements) >= AT_LEAST
    refused = {
        place: reason
        for text, place in statements.items()
        if (reason := engine.refusal(text)) is not None
    }
    assert {} == refused
