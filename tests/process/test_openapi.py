"""The API keeps to its own description: whatever is sent, no answer is a fault or off the schema.

Bounded, with a fixed seed; the stream that goes on for ever is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.process.reaching import Reached, reached

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

#: Requests to each operation.
EXAMPLES = 25

#: Goes on for ever.
ENDLESS = {"/api/events"}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A running service."""
    with reached(tmp_path_factory.mktemp("openapi")) as found:
        yield found


@pytest.mark.filterwarnings("ignore")
def test_answers_keep_to_the_description(door: Reached) -> None:
    """Requests that the description allows, on a real charm and on others, are answered by it."""
    headers = {"Authorization": f"Bearer {door.token('schemathesis')}"}
    with door.client() as client:
        document: dict[str, Any] = client.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    tried = set()
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]
        if operation.path in ENDLESS:
            continue
        tried.add(operation.path)
        check(door, operation, headers)
    assert tried == set(document["paths"]) - ENDLESS


def check(door: Reached, operation: Any, headers: dict[str, str]) -> None:
    """Send requests to one operation."""
    space, _, charm_id = door.charm.ref.partition("/")
    turn = 0

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any) -> None:
        nonlocal turn
        turn += 1
        # Two of three go to the charm that is there; it must still be there in the end.
        if turn % 3 and case.method != "DELETE" and "charm_id" in case.path_parameters:
            case.path_parameters.update(space=space, charm_id=charm_id)
        answer = case.call(base_url=door.url, headers=headers)
        case.validate_response(answer, checks=CHECKS)

    send()
