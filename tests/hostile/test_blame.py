"""Crashes and lies: the guilty run fails by name, and nobody else notices."""

from __future__ import annotations

from tests.hostile.deeds import Deed, each_of
from tests.hostile.rig import Rig


@each_of("crashing")
def test_crash_is_its_own(each_yard: Rig, deed: Deed) -> None:
    """A charm that ends or breaks its worker fails, and its neighbours run."""
    each_yard.suffer(deed)


@each_of("answering")
def test_what_a_worker_says_is_not_believed(each_yard: Rig, deed: Deed) -> None:
    """A worker that floods, stalls, lies or talks nonsense is killed, and its charm blamed."""
    each_yard.suffer(deed)


@each_of("forging")
def test_answer_that_no_run_could_give_is_refused(private_yard: Rig, deed: Deed) -> None:
    """What is wrong in an answer fails its run: fields, links, JSON and sizes are checked again."""
    private_yard.suffer(deed)
