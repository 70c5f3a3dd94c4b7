"""How much one run may leave behind to be stored: its writes and the events that it sends.

Pure. The worker asks, so that a run is told before its answer goes out; the completer asks again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bg_charm_service.domain.errors import StateTooLarge
from bg_charm_service.domain.quantities import size_text

#: Events that one run may send.
MOST_SENDS = 1000


def check_run_size(writes: Mapping[str, bytes], events: Collection[bytes], most_bytes: int) -> None:
    """Raise StateTooLarge for more than a run may leave, naming the largest part."""
    if not events and sum(map(len, writes.values())) <= most_bytes:
        # What nearly every run leaves.
        return
    sizes = {name: len(value) for name, value in writes.items()}
    sent = [len(event) for event in events]
    if len(sent) > MOST_SENDS:
        raise StateTooLarge(f"It sent {len(sent):,} events; a run may send {MOST_SENDS:,}.")
    total = sum(sizes.values()) + sum(sent)
    if total <= most_bytes:
        return
    if sum(sent) > most_bytes / 2 or not sizes:
        largest = f"its {len(sent):,} events are {sum(sent):,} bytes of it"
    else:
        name = max(sizes, key=lambda each: sizes[each])
        largest = f"{name:.100} is {sizes[name]:,} bytes of it"
    raise StateTooLarge(
        f"It left {total:,} bytes to store, and may leave {size_text(most_bytes)}: {largest}."
    )


def check_state_size(total_bytes: int, before_bytes: int, most_bytes: int) -> None:
    """Raise StateTooLarge for a state beyond its limit; one that shrinks is always fine."""
    if total_bytes > most_bytes and total_bytes > before_bytes:
        raise StateTooLarge(
            f"Its state would be {total_bytes:,} bytes, and may be {size_text(most_bytes)}."
        )
