"""A node that stands by: what it answers, to whom."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from bg_charm_service.api.auth.listeners import SOCKET, TCP, ListenerMiddleware
from bg_charm_service.api.standby import StandbyApp
from bg_charm_service.storage.node_contract import Holder


def answer(path: str, listener: str = TCP) -> httpx2.Response:
    """Ask a node that stands by for another one."""
    app = StandbyApp()
    app.tell(Holder("there/7", 1e9, 3), "This node stands by: there/7 is active")

    async def ask() -> httpx2.Response:
        transport = httpx2.ASGITransport(ListenerMiddleware(app, listener))
        async with httpx2.AsyncClient(transport=transport, base_url="http://node") as client:
            return await client.get(path)

    return asyncio.run(ask())


def test_it_lives_and_is_not_ready() -> None:
    """A monitor sees that it lives; a balancer of load that it is not the one to ask."""
    assert (200, "standby") == (answer("/livez").status_code, answer("/livez").json()["role"])
    ready = answer("/readyz")
    assert (503, "standby", "1") == (
        ready.status_code,
        ready.json()["role"],
        ready.headers["retry-after"],
    )


def test_everything_else_is_another_nodes() -> None:
    """Pages and routes are refused with a kind that programs can tell from a stop."""
    for path in ("/", "/api/status", "/api/charms", "/hooks/x"):
        refused = answer(path)
        assert (503, "StandingBy") == (refused.status_code, refused.json()["kind"])


def test_who_is_active_is_for_the_operator() -> None:
    """The socket of the data directory tells the name of the active node, a port does not."""
    told: dict[str, Any] = answer("/api/status", SOCKET).json()
    assert ("there/7", 1e9, 3) == (told["node"], told["since"], told["epoch"])
    assert "there/7 is active" in told["error"]
    assert "there" not in json.dumps(answer("/api/status").json())


def test_its_metrics_have_its_role() -> None:
    """Whoever scrapes it is told that it stands by."""
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer("/metrics").text)
        for sample in family.samples
    }
    assert {
        ("bg_charm_node", "active"): 0.0,
        ("bg_charm_node", "standby"): 1.0,
        ("bg_charm_ready",): 0.0,
    } == found
