"""Asks workers to load and describe sources: for `charm add`, `charm update` and `charm set`.

Charm code is loaded in workers only, so whoever wants to know a source's fields asks here.
Used by the commands; the supervisor brings the answers.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from msgspec.structs import replace

from bg_charm_service.domain.errors import (
    CompilerError,
    FailureCause,
    InvalidInput,
    ServiceError,
)
from bg_charm_service.domain.events.hooks import check_hook
from bg_charm_service.domain.json_values import (
    PART_BYTES,
    CheckedJson,
    check_json,
    check_json_in_parts,
)
from bg_charm_service.domain.limits import Limits, check_changes
from bg_charm_service.domain.model import CharmSchema, Failure, FieldKind
from bg_charm_service.domain.quantities import size_text
from bg_charm_service.domain.redaction import mask
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.supervisor.answers.answer_validation import short_message
from bg_charm_service.supervisor.refusal_advice import Place, RefusalAdvice
from bg_charm_service.workers.pool.contract import WorkerPool
from bg_charm_service.workers.pool.events import InspectFinished
from bg_charm_service.workers.protocol.messages import MOST_SETS, Inspect, Inspected

#: A class has no more fields or streams than this, nor a longer description, in characters, nor
#: larger defaults, all together in bytes: what describes it is read with each of its charms.
_MOST_MEMBERS = 1_000
_DEFAULT_BYTES = 1024 * 1024
_DOC_CHARACTERS = 100_000
_NAME_CHARACTERS = 500

#: A secret of an event stands no deeper in it.
_DEEPEST_PATH = 100


class SourceInspections:
    """Requests under way, by their number."""

    def __init__(self, pool: WorkerPool, advice: RefusalAdvice) -> None:
        self._pool = pool
        self.advice = advice
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[str, asyncio.Future[Inspected | Failure]]] = {}
        self._ended_by: ServiceError | None = None

    async def inspect(
        self,
        source: str,
        file_name: str,
        class_name: str | None = None,
        values: Sequence[dict[str, bytes]] = (),
        *,
        place: Place,
        limits: Limits | None = None,
    ) -> Inspected:
        """Describe a source, and check sets of values against its fields; raises CompilerError.

        Values that do not fit are in the answer's `problems`, one dict a set. It is loaded within
        the limits that count at its place, unless others are given.
        """
        within = limits or self.advice.allowed(place)
        loaded = await self.load(source, file_name, class_name, values, limits=within)
        if isinstance(loaded, Failure):
            raise self.error_of(loaded, place, within)
        return loaded

    async def check_event(
        self, charm: CharmRecord, source: str, stream: str, event: bytes, *, limits: Limits
    ) -> str:
        """Say what of an event does not fit the type of its handler; empty where all does.

        Raises CompilerError where the source does not load.
        """
        class_name = charm.schema.class_name
        answer = await self._ask(
            source, charm.file_name, class_name, (), limits, stream=stream, event=event
        )
        if isinstance(answer, Failure):
            raise self.error_of(answer, self.advice.place_of(charm), limits)
        return mask(short_message(answer.event_problem))

    async def load(
        self,
        source: str,
        file_name: str,
        class_name: str | None,
        values: Sequence[dict[str, bytes]],
        *,
        limits: Limits,
    ) -> Inspected | Failure:
        """Do the same wherever it is to be: what keeps it from loading is told by `error_of`.

        Raises CompilerError for what is wrong with it everywhere. Many sets of values are given out
        in portions, to one worker after the other.
        """
        found: list[Inspected] = []
        for start in range(0, max(1, len(values)), MOST_SETS):
            portion = values[start : start + MOST_SETS]
            answer = await self._ask(source, file_name, class_name, portion, limits)
            if isinstance(answer, Failure):
                return answer
            found.append(answer)
            if answer.schema != found[0].schema:
                raise CompilerError(f"{file_name}: it is another class each time it is loaded.")
        checked = tuple(value for one in found for value in one.values)
        problems = tuple(problem for one in found for problem in one.problems)
        return replace(found[0], values=checked, problems=problems)

    def error_of(self, failure: Failure, place: Place, within: Limits) -> CompilerError:
        """Say why a source does not load there, within these limits, and what to do about it."""
        return CompilerError(mask(short_message(self.advice.of_loading(place, within, failure))))

    async def _ask(
        self,
        source: str,
        file_name: str,
        class_name: str | None,
        values: Sequence[dict[str, bytes]],
        limits: Limits,
        *,
        stream: str = "",
        event: bytes = b"",
    ) -> Inspected | Failure:
        if self._ended_by is not None:
            raise self._ended_by
        number = next(self._numbers)
        future: asyncio.Future[Inspected | Failure] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (file_name, future)
        # What the class asks for is not known before.
        within = replace(limits, processors=1)
        request = Inspect(
            number, source, file_name, class_name, tuple(values), within, stream, event
        )
        self._pool.inspect(request)
        try:
            inspected = await future
        finally:
            self._waiting.pop(number, None)
        if isinstance(inspected, Failure):
            return inspected
        if inspected.schema is None:
            return inspected.failure or Failure(FailureCause.COMPILER, f"{file_name}: no class.")
        problem = _untruth(inspected, inspected.schema, values)
        if problem:
            raise CompilerError(f"{file_name}: its worker described it wrongly: {problem}.")
        if any(inspected.problems):
            problems = tuple(_masked(each) for each in inspected.problems)
            inspected = replace(inspected, problems=problems)
        if sum(len(value) for each in inspected.values for value in each.values()) > PART_BYTES:
            values_checked = tuple([await _checked(each) for each in inspected.values])
            return replace(inspected, values=values_checked)
        return inspected

    def finish(self, event: InspectFinished) -> None:
        """Hand an answer to whoever waits for it."""
        file_name, future = self._waiting.pop(event.request_id, ("", None))
        if future is None or future.done():
            return
        if event.inspected is not None:
            future.set_result(event.inspected)
        else:
            death = event.death
            why = f": {death.message}" if death is not None else "."
            cause = death.cause if death is not None else FailureCause.COMPILER
            future.set_result(Failure(cause, f"{file_name}: loading it ended the worker{why}"))

    def stop(self, error: ServiceError) -> None:
        """Let whoever still waits go, and whoever comes later, with this error."""
        self._ended_by = error
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()


def _masked(problems: dict[str, str]) -> dict[str, str]:
    return {name: mask(text) for name, text in problems.items()}


async def _checked(values: dict[str, bytes]) -> dict[str, bytes]:
    """Check values that are large in all, a part at a time: others get their turn in between."""
    checked: dict[str, bytes] = {}
    for name, value in values.items():
        problem = ""
        try:
            for _ in check_json_in_parts(value):
                await asyncio.sleep(0)
        except ValueError as error:
            problem = str(error)
        # Whoever writes it says what is wrong.
        checked[name] = CheckedJson(value, problem)
    await asyncio.sleep(0)
    return checked


def _untruth(inspected: Inspected, schema: CharmSchema, given: Sequence[dict[str, bytes]]) -> str:
    """Say what cannot be true of a description, which code of the author's may have made up."""
    if not len(given) == len(inspected.values) == len(inspected.problems):
        return "not all values were checked"
    for wanted, fitting, unfit in zip(given, inspected.values, inspected.problems, strict=True):
        if wanted.keys() != fitting.keys() | unfit.keys():
            return "not all values were checked"
    names = [schema.class_name, schema.name, *schema.streams]
    names += [field.name for field in schema.fields]
    paths = [path for event in schema.events.values() for path in event.secrets]
    if len(paths) > _MOST_MEMBERS or any(len(path) > _DEEPEST_PATH for path in paths):
        return "the types of its events have too many secrets"
    if not schema.events.keys() <= {*schema.streams, *inspected.withheld}:
        return "it has the type of an event of no stream"
    if not schema.hooks.keys() <= {*schema.streams, *inspected.withheld}:
        return "it has a hook of no stream"
    columns = [one for columns in schema.columns.values() for one in columns]
    if len(columns) > _MOST_MEMBERS or any(
        len(text) >= _NAME_CHARACTERS for one in columns for text in one
    ):
        return "it has too many columns, or too long a name of one"
    names += [*schema.columns, *inspected.hidden, *inspected.withheld, *inspected.said]
    if len(names) > _MOST_MEMBERS or len(schema.doc) > _DOC_CHARACTERS:
        return "it has too many members, or too long a text"
    if not all(name.isidentifier() and len(name) < _NAME_CHARACTERS for name in names):
        return "it has a member without a proper name"
    if sum(len(field.default or b"") for field in schema.fields) > _DEFAULT_BYTES:
        return f"the defaults of its fields are larger than {size_text(_DEFAULT_BYTES)}"
    try:
        for hook in schema.hooks.values():
            check_hook(hook)
            secret = schema.field(hook.secret)
            if secret is None or secret.kind is not FieldKind.SECRET:
                return "a hook names no secret of it"
        for field in schema.fields:
            check_json(field.default or b"null")
        check_changes(schema.asks)
    except (ValueError, InvalidInput) as error:
        return str(error)
    return ""
