"""Adding a charm that ships: what there is, and a form of what it needs."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Bounded, Caller, Changing
from bg_charm_service.api.dependencies import Service
from bg_charm_service.api.error_responses import status_of
from bg_charm_service.api.pages.charm_actions import path_of
from bg_charm_service.api.pages.forms import Form, FormFields
from bg_charm_service.api.pages.rendering import make_page_router, moved, page
from bg_charm_service.api.requests import to_json
from bg_charm_service.domain.errors import Conflict, InvalidInput
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.views import AddedCharm, NewCharm
from bg_charm_service.service.commands import Commands
from bg_charm_service.service.shipped_charms import (
    AnswerKind,
    ShippedCharm,
    shipped_charm,
    shipped_charms,
)

router = make_page_router()

#: What the fields of the charm are called in the form, so that none is taken for another of it.
_PREFIX = "field."


@router.get("/add")
async def show_shipped(request: Request, caller: Changing, bounds: Bounded) -> Response:
    """Show what ships, a sentence each."""
    return page(request, "add.html", charms=shipped_charms())


@router.get("/add/{name}")
async def show_form(request: Request, caller: Changing, bounds: Bounded, name: str) -> Response:
    """Show the form of one that ships."""
    charm = shipped_charm(name)
    return _form(request, charm, {}, space=_space(caller, charm), cause=charm.name)


@router.post("/add/{name}")
async def add_shipped(
    request: Request,
    service: Service,
    caller: Changing,
    bounds: Bounded,
    name: str,
    form: Form,
) -> Response:
    """Add one that ships, to be polled; a form that will not do is shown again, with the reason."""
    charm = shipped_charm(name)
    typed = {one.name: form.text(_PREFIX + one.name) for one in charm.fields if not one.is_secret}
    space, cause = form.text("space").strip(), form.text("cause").strip() or charm.name
    caller.check_space(space)
    try:
        _check_is_new(service, space, cause)
        added = await _add(service, caller, charm, _values(charm, form), space, cause)
    except InvalidInput as error:
        status = status_of(error)
        return _form(
            request, charm, typed, space=space, cause=cause, problem=str(error), code=status
        )
    return moved(request, path_of(CharmRef(added.space, added.charm_id)))


async def _add(
    service: Commands,
    caller: Caller,
    charm: ShippedCharm,
    values: dict[str, Any],
    space: str,
    cause: str,
) -> AddedCharm:
    network = charm.network(values) if caller.is_unlimited else None
    return await service.charms.add(
        NewCharm(
            source=charm.source,
            file_name=charm.file_name,
            space=space,
            class_name=None,
            values={name: to_json(value, name) for name, value in values.items()},
            links={},
            writable_links={},
            cause=cause,
            register=True,
            integration=charm.integration,
            limits={"network": network} if network else {},
            may_name_any=caller.may_name_any_package,
        )
    )


def _check_is_new(service: Commands, space: str, cause: str) -> None:
    if service.queries.has_charm_for(space, cause):
        raise Conflict(f"The space {space:.100} has {cause:.100} already: choose another name.")


def _values(charm: ShippedCharm, form: FormFields) -> dict[str, Any]:
    """What was filled in; a field that was left empty has its default."""
    values: dict[str, Any] = {}
    for field in charm.fields:
        text = form.text(_PREFIX + field.name)
        if text.strip() or field.kind is AnswerKind.FLAG:
            values[field.name] = field.read(text)
    if missing := charm.missing(values):
        raise InvalidInput(f"{missing[0].title}: this is needed.")
    return charm.completed(values)


def _space(caller: Caller, charm: ShippedCharm) -> str:
    """The space that is offered: one in which the caller may add something."""
    if caller.may_touch(charm.space):
        return charm.space
    return caller.space or ""


def _form(
    request: Request,
    charm: ShippedCharm,
    typed: dict[str, str],
    *,
    space: str,
    cause: str,
    problem: str = "",
    code: int = 200,
) -> Response:
    defaults = {
        one.name: "\n".join(one.default or []) if one.kind is AnswerKind.LINES else one.default
        for one in charm.fields
    }
    return page(
        request,
        "add_form.html",
        code,
        charm=charm,
        prefix=_PREFIX,
        typed={**defaults, **typed},
        space=space,
        cause=cause,
        problem=problem,
    )
