"""Who takes the notices of a kill loop: it fails and hangs at random, and keeps what it took.

It outlives the service. What the data directory says was sent is compared with what came here.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType

from tests.fakes.http_server import Answer, FakeServer, Seen, answer

#: Part of the address of the target: no page of the file, used or free, may show it.
SECRET = "a-secret-of-the-receiver"

_PATH = "/told"

#: Of a hundred messages so many are refused, and so many get no answer.
_REFUSED_ODDS, _HANGING_ODDS = 25, 5


class SoakReceiver:
    """A server of HTTP, and what it took."""

    def __init__(self, seed: int) -> None:
        self._server = FakeServer().on(_PATH, self._answer)
        self._chance = random.Random(f"{seed}/receiver")
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        #: Whether it takes whatever comes.
        self.is_calm = False

    def __enter__(self) -> SoakReceiver:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, trace)

    @property
    def taken(self) -> Counter[str]:
        """How often each text came that it has answered well."""
        with self._lock:
            return self._taken.copy()

    def write_target(self, file: Path) -> None:
        """Write its address into a file of targets."""
        kinds = "charm,disabled,recovered,sign_in,dead_letter"
        url = f"json://soak:{SECRET}@127.0.0.1:{self._server.port}{_PATH}"
        file.write_text(f"{url} name=receiver kinds={kinds}\n")
        file.chmod(0o600)

    def _answer(self, seen: Seen) -> Answer:
        with self._lock:
            drawn = 100 if self.is_calm else self._chance.randrange(100)
            if drawn < _REFUSED_ODDS:
                return answer(500)
            if drawn < _REFUSED_ODDS + _HANGING_ODDS:
                return answer(200, "x").stalled()
            self._taken[json.loads(seen.body)["message"]] += 1
        return answer()
