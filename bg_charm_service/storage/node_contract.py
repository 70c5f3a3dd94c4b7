"""Which of the nodes that share a database is active: what such an engine does, and its values.

One node at a time holds the lease, and does all there is to do; the others wait for it. The engine
of a single machine knows none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Holder:
    """A node that is active, and since when, by the server's clock, in seconds since the epoch.

    `epoch` grows with each holder. Without a name nobody is known to be.
    """

    node: str = ""
    since: float = 0.0
    epoch: int = 0


class Lease(Protocol):
    """The lease, held. Once it is lost it stays so, and nothing more can be committed."""

    @property
    def holder(self) -> Holder:
        """This node, as others see it."""

    def fence(self) -> None:
        """Refuse a commit of a node that lost the lease; inside the transaction, as its last part.

        Raises LeaseLost. Nobody can take the lease between this and the end of the transaction.
        """

    def begin(self) -> None:
        """Lose the lease from now on when the server does not answer, sooner than it says so."""

    def close(self) -> None:
        """Give the lease up, at once; closing twice is fine."""


class Candidate(Protocol):
    """A node that wants the lease."""

    @property
    def shown(self) -> str:
        """The database, as it may be told: without user and password."""

    def ask(self, on_loss: Callable[[str], None]) -> Lease | Holder:
        """Take the lease, or say who has it; `on_loss` is told when it is lost later, and why.

        It may be told by any thread. Raises DatabaseUnusable, and InvalidInput for an address that
        is none; may be asked again after each.
        """

    def close(self) -> None:
        """Want it no more; closing twice is fine."""
