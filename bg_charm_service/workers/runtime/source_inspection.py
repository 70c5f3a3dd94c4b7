"""Loads a source to describe it, and checks values against its fields: what an inspection asks for.

Runs the code of the source at its import, and so only in a worker. Used by the worker.
"""

from __future__ import annotations

from bg_charm_service.domain.errors import NotFound, ServiceError, StateError
from bg_charm_service.sdk.charm import Charm
from bg_charm_service.workers.protocol.messages import Inspect, Inspected
from bg_charm_service.workers.runtime.charm_binding import describe, load_class, validate_field
from bg_charm_service.workers.runtime.deadline import Deadline, RunCpuLimit, RunTimeout
from bg_charm_service.workers.runtime.failure_report import one_line, short


def inspect_source(request: Inspect) -> Inspected:
    """Load and describe a source, or say why that cannot be done."""
    values: list[dict[str, bytes]] = []
    problems: list[dict[str, str]] = []
    try:
        with Deadline(request.limits.timeout_seconds, request.limits.cpu_seconds):
            charm_class = load_class(request.source, request.file_name, request.class_name)
            schema = describe(charm_class)
            for given in request.values:
                fitting, unfit = _check_values(charm_class, given)
                values.append(fitting)
                problems.append(unfit)
    except RunCpuLimit:
        seconds = request.limits.cpu_seconds
        text = f"{request.file_name}: loading it took over {seconds:g} s of processor time."
        return Inspected(request.request_id, error=text)
    except RunTimeout:
        seconds = request.limits.timeout_seconds
        text = f"{request.file_name}: loading it took longer than {seconds:g} s."
        return Inspected(request.request_id, error=text)
    except ServiceError as error:
        return Inspected(request.request_id, error=short(str(error)))
    except BaseException as error:
        text = f"{request.file_name}: {one_line(error)}"
        return Inspected(request.request_id, error=text)
    return Inspected(request.request_id, schema, values=tuple(values), problems=tuple(problems))


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
