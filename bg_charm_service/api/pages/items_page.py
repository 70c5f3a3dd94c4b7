"""The pages of a collection: its items as a table that one can search and filter, and one item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query, Request
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Reading
from bg_charm_service.api.dependencies import Charm, Service
from bg_charm_service.api.pages.items_view import (
    Columns,
    Table,
    is_by_day,
    members_of,
    table_of,
)
from bg_charm_service.api.pages.rendering import make_page_router, page
from bg_charm_service.api.pages.state_view import shown_values
from bg_charm_service.domain.disclosure import OpenText
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.items import LONGEST_KEY_BYTES
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.service.commands import Commands
from bg_charm_service.service.commands.items import MOST_FILTERS

router = make_page_router()

#: Items on a page.
_ITEMS = 50

#: On the page of their charm: so many items of so many collections.
_GLIMPSED_ITEMS = 10
_GLIMPSED = 3

#: What filters are called in the address: the name of a member behind it.
_FILTER = "in."
_LONGEST_FILTER = 300

_Key = Annotated[str, Query(max_length=LONGEST_KEY_BYTES)]


@router.get("/charms/{space}/{charm_id}/items/{field}")
async def show_items(
    request: Request,
    service: Service,
    caller: Reading,
    ref: Charm,
    field: str,
    after: _Key = "",
    text: Annotated[str, Query(max_length=_LONGEST_FILTER)] = "",
) -> Response:
    """Show items of a collection, from behind a key: all, or those that a search finds."""
    where = _filters(request)
    found = service.items.page(ref, field, after=after, limit=_ITEMS, text=text, where=where)
    items = [(item.key, item.value or b"null") for item in found.items]
    table = table_of(found.columns, items)
    # What is looked for stands above the table, also where nothing was found.
    columns: Columns = table.columns if table else found.columns or [(one, one) for one in where]
    kept = {"text": text, **{_FILTER + name: words for name, words in where.items()}}
    kept = {name: words for name, words in kept.items() if words}
    return page(
        request,
        "items.html",
        charm=service.queries.show_charm(ref).charm,
        field=field,
        table=table,
        columns=columns,
        items=[] if table else shown_values(items),
        next=found.next,
        count=found.totals.count,
        size_bytes=found.totals.size_bytes,
        after=after,
        text=text,
        where=where,
        filter_prefix=_FILTER,
        kept=urlencode(kept),
        is_search=bool(kept),
        today=_today() if is_by_day([key for key, _ in items]) else "",
    )


@router.get("/charms/{space}/{charm_id}/items/{field}/item")
async def show_item(
    request: Request, service: Service, caller: Reading, ref: Charm, field: str, key: _Key = ""
) -> Response:
    """Show all members of one item."""
    stored = service.items.item(ref, field, key)
    charm = service.queries.show_charm(ref).charm
    return page(request, "item.html", charm=charm, field=field, key=key, members=members_of(stored))


@dataclass(frozen=True, slots=True)
class Glimpse:
    """The first items of a collection, on the page of its charm."""

    field: OpenText
    table: Table
    count: int
    #: The day that it begins with, where that is today.
    since: OpenText


def glimpses(service: Commands, ref: CharmRef) -> list[Glimpse]:
    """Give the first items of a charm's collections whose types name columns.

    Where keys begin with their day, those from today on come first.
    """
    found = []
    for field in service.items.tables(ref)[:_GLIMPSED]:
        first, since = service.items.page(ref, field, limit=_GLIMPSED_ITEMS), ""
        if is_by_day([item.key for item in first.items]):
            coming = service.items.page(ref, field, after=_today(), limit=_GLIMPSED_ITEMS)
            first, since = (coming, _today()) if coming.items else (first, "")
        table = table_of(first.columns, [(one.key, one.value or b"null") for one in first.items])
        if table is not None and table.rows:
            found.append(Glimpse(field, table, first.totals.count, since))
    return found


def _filters(request: Request) -> Mapping[str, str]:
    where = {
        name.removeprefix(_FILTER): words
        for name, words in request.query_params.multi_items()
        if name.startswith(_FILTER) and words
    }
    if len(where) > MOST_FILTERS or any(len(one) > _LONGEST_FILTER for one in where.values()):
        raise InvalidInput(f"Up to {MOST_FILTERS} filters of {_LONGEST_FILTER} characters each.")
    return where


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
