"""Commands about dead letters: what was given up is requeued or dropped, one, a charm's, or all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from bg_charm_service.domain.errors import Conflict, NotFound
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.views import LettersReport
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.storage.records import Claim

#: So many are requeued or dropped in one transaction.
_SLICE = 100


@dataclass(frozen=True, slots=True)
class LetterChoice:
    """Which dead letters are meant: one by its job, those of a charm, or else all there are.

    With `spaces`, DIDs, none of any other space.
    """

    job_id: int | None = None
    ref: CharmRef | None = None
    spaces: Collection[str] | None = None


class LetterCommands:
    """What becomes of jobs that were given up."""

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._supervisor = context.supervisor
        self._parts = context.parts
        self._queue = context.parts.queue

    def charm_of(self, job_id: int) -> CharmRef:
        """Whose dead letter a job is; raises NotFound where it is none."""
        return self._find(job_id).job.ref

    async def requeue(self, choice: LetterChoice) -> LettersReport:
        """Bring dead letters back, as new jobs; their events go behind those that wait.

        Raises NotFound where there is none; Conflict where the only one is a poll's, and a poll of
        its charm is live.
        """
        self._context.check_open()
        made: list[int] = []
        left = 0
        async for letters in self._chosen(choice):
            if made:
                # What has failed again meanwhile is not meant.
                letters = [one for one in letters if one.job.job_id < made[0]]
                if not letters:
                    break
            with self._parts.database.transaction():
                for letter in letters:
                    steady = self._parts.clock.steady()
                    new_id = self._queue.requeue(letter.job.job_id, steady)
                    if new_id is None:
                        left += 1
                        continue
                    made.append(new_id)
                    self._context.store.deliveries.note_requeued(letter.job.job_id, new_id)
                    self._let_wait(letter)
                    self._note(letter, "requeue", "requeued")
            self._supervisor.wake()
        if left and not made:
            raise Conflict("A poll of that charm is live already; its dead letter stays.")
        return LettersReport(requeued=tuple(made), left=left)

    async def drop(self, choice: LetterChoice) -> LettersReport:
        """Drop dead letters for good; raises NotFound where there is none."""
        dropped = 0
        async for letters in self._chosen(choice):
            with self._parts.database.transaction():
                for letter in letters:
                    if self._queue.drop_dead_letter(letter.job.job_id):
                        dropped += 1
                        self._note(letter, "drop dead letter", "dropped")
        return LettersReport(dropped=dropped)

    async def _chosen(self, choice: LetterChoice) -> AsyncIterator[list[Claim]]:
        """The dead letters that are meant, some at a time; others get their turn in between."""
        if choice.job_id is not None:
            letter = self._find(choice.job_id)
            self._context.owned_charm(letter.job.ref)
            yield [letter]
            return
        charm = self._context.owned_charm(choice.ref) if choice.ref is not None else None
        after, has_any = 0, False
        while True:
            if charm is not None:
                letters = self._queue.dead_letters_of(charm.charm_key, after, _SLICE)
            else:
                letters = self._queue.dead_letters(after, _SLICE)
            if not letters:
                break
            after = letters[-1].job.job_id
            meant = [one for one in letters if self._is_meant(one, choice)]
            if meant:
                has_any = True
                yield meant
            await asyncio.sleep(0)
        if not has_any:
            raise NotFound(
                f"{choice.ref} has no dead letter." if choice.ref else "There are no dead letters."
            )

    def _is_meant(self, letter: Claim, choice: LetterChoice) -> bool:
        if choice.spaces is not None and letter.job.ref.space not in choice.spaces:
            return False
        return self._context.store.spaces.is_owner(letter.space_key, self._context.operator)

    def _find(self, job_id: int) -> Claim:
        letter = next(iter(self._queue.dead_letters(job_id - 1, 1)), None)
        if letter is None or letter.job.job_id != job_id:
            raise NotFound(
                f"Job {job_id} is no dead letter: `bg-charm-service dead-letters` lists them."
            )
        return letter

    def _let_wait(self, letter: Claim) -> None:
        """Let what was requeued wait with its charm."""
        until = self._parts.waiting.not_before(letter.charm_key)
        if until:
            self._queue.put_off(letter.space_key, letter.charm_key, until)

    def _note(self, letter: Claim, action: str, change: str) -> None:
        ref = letter.job.ref
        self._context.record(action, ref, detail=f"job {letter.job.job_id}")
        self._context.tell(ref, change)
