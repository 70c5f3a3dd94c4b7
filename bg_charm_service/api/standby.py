"""What a node answers that stands by: that it lives, that it is not the one to ask, and who is.

No route of the service is here, for nothing of its data is: each of them answers 503, as `/readyz`
does, so that a balancer of load goes on to the active node. Who that is is told over the socket of
the data directory only. Served by the daemon until the node is active.
"""

from __future__ import annotations

import json

from starlette.types import Receive, Scope, Send

from bg_charm_service.api.auth.listeners import SOCKET
from bg_charm_service.storage.node_contract import Holder

_JSON = "application/json"

_METRICS = """\
# HELP bg_charm_node 1 for what this node is
# TYPE bg_charm_node gauge
bg_charm_node{role="active"} 0.0
bg_charm_node{role="standby"} 1.0
# HELP bg_charm_ready 1 while /readyz answers 200
# TYPE bg_charm_ready gauge
bg_charm_ready 0.0
"""


class StandbyApp:
    """The ASGI application of such a node."""

    def __init__(self) -> None:
        #: Who is active, as far as is known, and how that is told to people.
        self.holder = Holder()
        self.text = "This node stands by."

    def tell(self, holder: Holder, text: str) -> None:
        """Answer from now on that this node is active, and with this text."""
        self.holder, self.text = holder, text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, kind, body = self._answer(scope)
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
        if status != 200:
            headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        is_wanted = scope["method"] != "HEAD"
        await send({"type": "http.response.body", "body": body if is_wanted else b""})

    def _answer(self, scope: Scope) -> tuple[int, str, bytes]:
        path, is_own = scope["path"], scope["state"]["listener"] == SOCKET
        if path == "/livez":
            return 200, _JSON, _json(message="alive", success=True, role="standby")
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", _METRICS.encode()
        if not is_own:
            text = "This node stands by: another one is active."
            return 503, _JSON, _json(error=text, kind="StandingBy", role="standby")
        holder = self.holder
        about = {"node": holder.node, "since": holder.since, "epoch": holder.epoch}
        return 503, _JSON, _json(error=self.text, kind="StandingBy", role="standby", **about)


def _json(**members: object) -> bytes:
    return json.dumps(members).encode()
