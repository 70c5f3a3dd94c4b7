"""What a run may use: each limit ends the run in its named failure, and hurts nobody else."""

from __future__ import annotations

from tests.hostile.deeds import Deed, each_of
from tests.hostile.rig import Rig


@each_of("time_limit")
def test_wall_time(each_yard: Rig, deed: Deed) -> None:
    """A run ends when its time is up, whatever it does about it."""
    each_yard.suffer(deed)


@each_of("cpu_limit")
def test_cpu_time(each_yard: Rig, deed: Deed) -> None:
    """A run ends when it has used its processor time."""
    each_yard.suffer(deed)


@each_of("memory_limit")
def test_memory(each_yard: Rig, deed: Deed) -> None:
    """A run ends when it takes more memory than it may have."""
    each_yard.suffer(deed)


@each_of("file_limit")
def test_open_files(each_yard: Rig, deed: Deed) -> None:
    """A run cannot have more files and connections open than it may."""
    each_yard.suffer(deed)


@each_of("thread_limit")
def test_threads(each_yard: Rig, deed: Deed) -> None:
    """A run ends when it has more threads than it may."""
    each_yard.suffer(deed)


@each_of("log_limit")
def test_log(each_yard: Rig, deed: Deed) -> None:
    """A run's log is cut, and a flood ends the run."""
    each_yard.suffer(deed)


@each_of("state_limit")
def test_state(each_yard: Rig, deed: Deed) -> None:
    """A state that cannot be stored fails its run, and what is stored hurts nobody."""
    each_yard.suffer(deed)


@each_of("item_limit")
def test_items(each_yard: Rig, deed: Deed) -> None:
    """What a run writes into a collection is bounded, and what it may not write fails it."""
    each_yard.suffer(deed)


@each_of("scratch_limit")
def test_scratch(each_yard: Rig, deed: Deed) -> None:
    """A scratch directory cannot be filled beyond its limit, and is emptied, whatever is in it."""
    each_yard.suffer(deed)
