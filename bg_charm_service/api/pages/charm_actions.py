"""What the forms of pages do to one charm; each is one command, and one answer."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

from fastapi import Path, Request
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Bounded, Changing
from bg_charm_service.api.dependencies import Charm, Service
from bg_charm_service.api.pages.formatting import duration
from bg_charm_service.api.pages.forms import Form
from bg_charm_service.api.pages.rendering import done, make_page_router, moved, page
from bg_charm_service.api.requests import to_json
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.model import DISABLED_ON_PAGE_STATUS, CharmRef
from bg_charm_service.service.commands import Commands
from bg_charm_service.service.commands.letters import LetterChoice

router = make_page_router()


class Action(StrEnum):
    """What can be done to a charm with one button."""

    ENABLE = "enable"
    DISABLE = "disable"
    RUN = "run"
    REGISTER = "register"
    UNREGISTER = "unregister"
    REQUEUE = "requeue"
    PAUSE = "pause"
    RESUME = "resume"

    @property
    def past(self) -> str:
        """Say that it was done."""
        return _PAST[self]


_PAST = {
    Action.ENABLE: "Enabled",
    Action.DISABLE: "Disabled",
    Action.RUN: "Run",
    Action.REGISTER: "Registered",
    Action.UNREGISTER: "Unregistered",
    Action.REQUEUE: "Requeued",
    Action.PAUSE: "Paused",
    Action.RESUME: "Resumed",
}


async def perform_action(service: Commands, ref: CharmRef, action: Action) -> str:
    """Do it; gives what is to be told."""
    if action is Action.RUN:
        run = (await service.polling.run_now(ref)).run
        ended = "succeeded" if run.status == "success" else f"ended as {run.status}"
        return f"The run {ended.replace('_', ' ')} in {duration(run.duration_ms)}."
    not_done: tuple[str, ...] = ()
    if action is Action.REGISTER:
        not_done = (await service.polling.register(ref, "manual")).not_done or ()
    elif action is Action.ENABLE:
        service.polling.enable(ref)
    elif action is Action.DISABLE:
        service.polling.disable(ref, DISABLED_ON_PAGE_STATUS)
    elif action is Action.PAUSE:
        await service.pauses.pause_charm(ref)
    elif action is Action.RESUME:
        await service.pauses.resume_charm(ref)
    elif action is Action.UNREGISTER:
        service.polling.unregister(ref)
    else:
        await service.letters.requeue(LetterChoice(ref=ref))
    name = service.queries.show_charm(ref).charm.name
    return " ".join([f"{action.past} {name}.", *not_done])


@router.post("/charms/{space}/{charm_id}/do/{action}")
async def act_on_charm(
    request: Request, service: Service, caller: Changing, ref: Charm, action: Action
) -> Response:
    """Do one thing to a charm."""
    return done(request, await perform_action(service, ref, action), path_of(ref))


class LetterAction(StrEnum):
    """What can be done to a dead letter."""

    REQUEUE = "requeue"
    DROP = "drop"


@router.post("/letters/{job_id}/{action}")
async def act_on_letter(
    request: Request,
    service: Service,
    caller: Changing,
    bounds: Bounded,
    job_id: Annotated[int, Path(ge=1, le=2**62)],
    action: LetterAction,
) -> Response:
    """Try one dead letter again, or drop it for good."""
    caller.check_space(service.letters.charm_of(job_id).space)
    choice = LetterChoice(job_id=job_id)
    if action is LetterAction.REQUEUE:
        await service.letters.requeue(choice)
        return done(request, f"Requeued job {job_id}.", "/attention")
    await service.letters.drop(choice)
    return done(request, f"Dropped job {job_id}.", "/attention")


@router.post("/charms/{space}/{charm_id}/interval")
async def set_interval(
    request: Request,
    service: Service,
    caller: Changing,
    ref: Charm,
    form: Form,
) -> Response:
    """Say how often a charm is polled; an empty field gives the service's interval."""
    wanted = None
    seconds = form.text("seconds").strip()
    if seconds:
        try:
            wanted = float(seconds)
        except ValueError:
            raise InvalidInput(f"Not a number of seconds: {seconds:.100}") from None
    service.polling.set_interval(ref, wanted)
    return done(request, "The interval was changed.", path_of(ref))


@router.post("/charms/{space}/{charm_id}/field")
async def set_field(
    request: Request,
    service: Service,
    caller: Changing,
    ref: Charm,
    form: Form,
) -> Response:
    """Write one field; what is no JSON is refused with the hint that texts have quotes.

    With `text` instead of `value` it is a text as it was typed: a password.
    """
    name = form.text("name")
    if form.text("text"):
        await service.updates.set_field(ref, name, to_json(form.text("text"), name))
        return done(request, f"{name} was set.", path_of(ref))
    try:
        read = json.loads(form.text("value"))
    except (ValueError, RecursionError):
        raise InvalidInput(f'{name}: This is not JSON. A text has quotes: "like this".') from None
    await service.updates.set_field(ref, name, to_json(read, name))
    return done(request, f"{name} was set.", path_of(ref))


@router.post("/charms/{space}/{charm_id}/hook")
async def rotate_hook(
    request: Request,
    service: Service,
    caller: Changing,
    ref: Charm,
    form: Form,
) -> Response:
    """Give a hook another address."""
    stream = form.text("stream")
    service.hooks.rotate(ref, stream)
    return done(request, f"{stream} has another address: give it to the sender.", path_of(ref))


@router.get("/charms/{space}/{charm_id}/remove")
async def ask_to_remove(
    request: Request, service: Service, caller: Changing, ref: Charm
) -> Response:
    """Ask for the charm's name before anything is deleted."""
    return page(request, "remove.html", detail=service.queries.show_charm(ref), problem="")


@router.post("/charms/{space}/{charm_id}/remove")
async def remove(
    request: Request,
    service: Service,
    caller: Changing,
    ref: Charm,
    form: Form,
) -> Response:
    """Delete a charm with its state, once its name was given."""
    detail = service.queries.show_charm(ref)
    if form.text("name").strip() != detail.charm.name:
        problem = f"That is not its name. To remove it, type {detail.charm.name}."
        return page(request, "remove.html", 400, detail=detail, problem=problem)
    await service.charms.remove(ref)
    return moved(request, "/")


def path_of(ref: CharmRef) -> str:
    """The address of a charm's page."""
    return f"/charms/{ref.space}/{ref.charm_id}"
