"""What the engines of the tests have in common: the ways to list charms, and a text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from bg_charm_service.storage.sql.store import charm_lists

#: Adds an entry to the audit log, at a time.
FILL_AUDIT = """INSERT INTO audit (at, caller, action, space, charm_id, detail)
    VALUES (?, 'somebody', 'change', '', '', '')"""


def ways_to_list() -> list[AbstractContextManager[None]]:
    """Give each way, to be gone inside."""
    walking, looking_twice, from_few = (0, 4000), (0, 3), (2000, 3)
    return [_listing(*bounds) for bounds in (walking, looking_twice, from_few)]


@contextmanager
def _listing(few: int, first_look: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charm_lists, "FEW", few)
        patch.setattr(charm_lists, "FIRST_LOOK", first_look)
        yield
