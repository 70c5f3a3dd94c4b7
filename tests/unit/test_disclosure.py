"""What a view shows without a credential: texts that it declares, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any, cast, get_args, get_type_hints

import msgspec
import pytest
from fastapi.routing import APIRoute

from bg_charm_service.api import create_app
from bg_charm_service.api.auth.authorization import Permission, permission_of
from bg_charm_service.api.pages.charm_list import Row
from bg_charm_service.domain.clock import SystemClock
from bg_charm_service.domain.disclosure import (
    CauseInstead,
    Instead,
    OpenText,
    for_anybody,
    withheld_fields,
)
from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.outcomes.run_endings import WaitingView
from bg_charm_service.domain.views import Bulletin, CharmDetail
from bg_charm_service.service.commands import Commands
from bg_charm_service.service.event_feed import CharmChange, RunEnd, WorkerDeath
from tests.unit.plain_charm import CHARM

#: Of the views that are answered without a credential, what is withheld, or has such a thing in it.
WITHHELD = {
    "BackupFile": set(),
    "BackupStatus": {"hook_output"},
    "CallerView": set(),
    "CharmPage": {"charms"},
    "CharmView": {"last_error", "status", "waiting"},
    "WaitingView": {"why", "url"},
    "HostDown": set(),
    "Done": set(),
    "FailingCharm": {"last_error"},
    "IntegrationStatus": set(),
    "IntegrationView": {"last_scan_error"},
    "JobPage": {"jobs"},
    "ListedJob": set(),
    "ListedJobs": set(),
    "PauseView": set(),
    "DeadLetter": {"error", "event"},
    "MinuteView": set(),
    "Registered": set(),
    "Sandboxing": set(),
    "RetiringCharmView": {"why"},
    "ServiceStatus": {"backup", "failing", "node", "retiring"},
    "SpaceView": set(),
    "WallState": set(),
    "WorkerView": set(),
    # The events that a stream tells, and what only pages are filled with.
    "CharmChange": set(),
    "WorkerDeath": set(),
    "RunEnd": {"error"},
    "Bulletin": set(),
    "CharmDetail": {"charm", "dead_letters", "doc", "history", "reminders"},
    "ExpectationView": set(),
    "ReminderView": {"name"},
    "ScheduleView": set(),
    "FieldView": set(),
    "LimitView": set(),
    "LimitsView": set(),
    "LinkView": set(),
    "NodeView": {"name"},
    "Row": {"charm"},
    "RunRecord": {"error", "traceback", "log", "retired", "requests"},
    "HttpRequest": {"method", "host", "path", "fault"},
    "Shape": set(),
}  # fmt: skip


@dataclass(frozen=True)
class Inner:
    """A view inside another."""

    text: str
    name: OpenText


@dataclass(frozen=True)
class Outer:
    """A view with a member of every kind."""

    cause: OpenText | None
    error: CauseInstead
    status: Annotated[str, Instead(words="withheld", unless=frozenset({"fine"}))]
    undeclared: str
    perhaps: str | None
    texts: tuple[str, ...]
    names: tuple[OpenText, ...]
    inner: Inner
    inners: tuple[Inner, ...]
    anything: Any
    mapping: dict[str, str]
    number: int
    kind: FailureCause


OUTER = Outer(
    cause="error",
    error="said a charm",
    status="said a charm",
    undeclared="said a charm",
    perhaps="said a charm",
    texts=("said a charm",),
    names=("a name",),
    inner=Inner("said a charm", "a name"),
    inners=(Inner("said a charm", "a name"),),
    anything={"said": "a charm"},
    mapping={"said": "a charm"},
    number=7,
    kind=FailureCause.ERROR,
)


def views_told_to_anybody() -> Iterator[Any]:
    """The views that routes answer with to a caller without a credential, and those inside them."""
    commands = SimpleNamespace(clock=SystemClock())
    routes = create_app(cast("Commands", commands)).routes
    weak = (Permission.LISTING, Permission.REGISTERING, Permission.PAGE, Permission.NONE)
    pending: list[Any] = [CharmChange, WorkerDeath, RunEnd, CharmDetail, Bulletin, Row]
    pending += [
        route.response_model
        for route in routes
        if isinstance(route, APIRoute) and permission_of(route) in weak
    ]
    seen: set[Any] = set()
    while pending:
        kind = pending.pop()
        pending += get_args(kind)
        is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        if (dataclasses.is_dataclass(kind) or is_struct) and kind not in seen:
            seen.add(kind)
            pending += get_type_hints(kind).values()
            yield kind


def test_every_text_is_declared() -> None:
    """A new text of a view is withheld, until it is declared open or stands in the table here."""
    found = {view.__name__: set(withheld_fields(view)) for view in views_told_to_anybody()}
    assert WITHHELD == found


def test_only_what_is_declared_is_shown() -> None:
    """Texts without a declaration are empty, in views inside of views and in lists of them too."""
    inner = Inner("", "a name")
    expected = Outer(
        cause="error",
        error="error",
        status="withheld",
        undeclared="",
        perhaps="",
        texts=("",),
        names=("a name",),
        inner=inner,
        inners=(inner,),
        anything={},
        mapping={},
        number=7,
        kind=FailureCause.ERROR,
    )
    assert expected == for_anybody(OUTER)
    assert [expected] == for_anybody([OUTER])
    assert {"view": (expected, "of the page")} == for_anybody({"view": (OUTER, "of the page")})


def test_words_of_the_service_are_shown() -> None:
    """A status in the service's own words is one; nothing stands in the place of nothing."""
    fine = dataclasses.replace(OUTER, status="fine", error="", perhaps=None)
    shown = for_anybody(fine)
    assert ("fine", "", None) == (shown.status, shown.error, shown.perhaps)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("wait", "Waiting"),
        ("down", "api.example.org is down"),
        ("sign_in", "Sign in again"),
        ("stop", "Stopped"),
    ],
)
def test_charm_that_waits_shows_no_older_error(kind: str, word: str) -> None:
    """Without a credential its status is what it waits for, not the cause of a failure before."""
    failed = dataclasses.replace(
        CHARM, status="it said so", last_error="no such page", last_error_cause="error"
    )
    assert "error" == for_anybody(failed).status
    waiting = WaitingView(kind, 10.0, 5.0, "api.example.org", "it said so", "")
    waits = dataclasses.replace(failed, waiting=waiting)
    assert word == for_anybody(waits).status
