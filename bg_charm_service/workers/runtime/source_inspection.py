"""Loads a source to describe it, and checks values against its fields: what an inspection asks for.

Runs the code of the source at its import, and so only in a worker. Used by the worker.
"""

from __future__ import annotations

from bg_charm_service.domain.errors import (
    CompilerError,
    FailureCause,
    NotFound,
    ServiceError,
    StateError,
)
from bg_charm_service.domain.model import Failure
from bg_charm_service.sdk.charm import Charm
from bg_charm_service.workers.protocol.messages import Inspect, Inspected
from bg_charm_service.workers.runtime.charm_binding import (
    check_event,
    describe,
    load_class,
    names_used,
    validate_field,
)
from bg_charm_service.workers.runtime.deadline import Deadline, RunCpuLimit, RunTimeout
from bg_charm_service.workers.runtime.failure_report import one_line, unloadable
from bg_charm_service.workers.runtime.host_watch import HostWatch
from bg_charm_service.workers.runtime.refusals import NO_WALLS, Surroundings


def inspect_source(
    request: Inspect, hosts: HostWatch, around: Surroundings = NO_WALLS
) -> Inspected:
    """Load and describe a source, or say why that cannot be done."""
    values: list[dict[str, bytes]] = []
    problems: list[dict[str, str]] = []
    limits, name, event_problem = request.limits, request.file_name, ""
    try:
        with Deadline(limits.timeout_seconds, limits.cpu_seconds):
            charm_class = load_class(request.source, name, request.class_name)
            schema = describe(charm_class)
            said, hidden, withheld = names_used(charm_class)
            for given in request.values:
                fitting, unfit = _check_values(charm_class, given)
                values.append(fitting)
                problems.append(unfit)
            if request.stream:
                event_problem = check_event(charm_class, request.stream, request.event)
    except RunCpuLimit:
        text = f"{name}: loading it took over {limits.cpu_seconds:g} s of processor time"
        return Inspected(request.request_id, failure=Failure(FailureCause.CPU, text))
    except RunTimeout:
        text = f"{name}: loading it took longer than {limits.timeout_seconds:g} s"
        return Inspected(request.request_id, failure=Failure(FailureCause.TIMEOUT, text))
    except ServiceError as error:
        return Inspected(request.request_id, failure=unloadable(error, limits, hosts, around))
    except BaseException as error:
        text = f"{name}: {one_line(error)}"
        failure = unloadable(CompilerError(text), limits, hosts, around, because=error)
        return Inspected(request.request_id, failure=failure)
    return Inspected(
        request.request_id,
        schema,
        values=tuple(values),
        problems=tuple(problems),
        said=said,
        hidden=hidden,
        withheld=withheld,
        event_problem=event_problem,
    )


def _check_values(
    charm_class: type[Charm], given: dict[str, bytes]
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Split values into those that fit, normalised, and what is wrong with the others."""
    fitting: dict[str, bytes] = {}
    unfit: dict[str, str] = {}
    for name, value in given.items():
        try:
            fitting[name] = validate_field(charm_class, name, value)
        except (StateError, NotFound) as error:
            unfit[name] = str(error)
    return fitting, unfit
