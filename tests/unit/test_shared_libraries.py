"""What charms share of libraries that do not come with the service, where these are installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

from bg_charm_service.workers.runtime.class_loader import load_class
from bg_charm_service.workers.runtime.shared_state import Setup, SharedState

CHARM = """
from bg_charm_service import Charm
class Some(Charm):
    def bg_updater(self, event): ...
"""

#: What a charm does with a library by accident, and what that is seen by.
DEEDS: dict[str, tuple[str, Callable[[Any], object], Callable[[Any], object]]] = {
    "seterr": ("numpy", lambda np: np.seterr(all="raise"), lambda np: np.geterr()),
    "printing": (
        "numpy",
        lambda np: np.set_printoptions(precision=2),
        lambda np: str(np.array([1 / 3])),
    ),
    "options": (
        "pandas",
        lambda pd: pd.set_option("display.max_rows", 3),
        lambda pd: pd.get_option("display.max_rows"),
    ),
    "parameters": (
        "matplotlib",
        lambda mpl: mpl.rcParams.update({"font.size": 33}),
        lambda mpl: mpl.rcParams["font.size"],
    ),
    "style": (
        "matplotlib.pyplot",
        lambda plt: plt.style.use("ggplot"),
        lambda plt: dict.copy(plt.rcParams),
    ),
    "structlog": (
        "structlog",
        lambda it: it.configure(processors=[]),
        lambda it: (it.is_configured(), len(it.get_config()["processors"])),
    ),
    "truststore": (
        "truststore",
        lambda it: it.inject_into_ssl(),
        lambda _: sys.modules["ssl"].SSLContext,
    ),
}


@pytest.fixture
def shared() -> Iterator[SharedState]:
    """What is shared, watched."""
    state = SharedState()
    yield state
    load(state, "import sys\n")
    assert "" == state.put_back()
    state.end()


def load(shared: SharedState, source: str) -> Setup:
    """Let a charm be loaded whose file begins with this source."""
    shared.begin_load(source + CHARM)
    cls = load_class(source + CHARM, "some.py")
    setup = shared.end_load()
    del sys.modules[cls.__module__]
    return setup


@pytest.mark.parametrize("name", DEEDS)
def test_what_a_charm_sets_in_a_library(shared: SharedState, name: str) -> None:
    """A run's doing is put back; a module's is of its class, and of no other."""
    library, do, look = DEEDS[name]
    pytest.importorskip(library)
    plain = load(shared, f"import sys, {library}\n")
    module = import_module(library)
    before = look(module)
    for _ in range(2):
        do(module)
        assert before != look(module)
        assert "" == shared.put_back()
        assert before == look(module)
    shared.begin_load(f"import {library}")
    do(module)
    own, its_own = shared.end_load(), look(module)
    for setup, expected in (plain, before), (own, its_own), (plain, before), (own, its_own):
        assert "" == shared.put_back()
        shared.enter(setup)
        assert expected == look(module)


def test_numbers_of_numpy(shared: SharedState) -> None:
    """A run that seeds numpy's generator leaves other numbers to the next one."""
    pytest.importorskip("numpy")
    load(shared, "import numpy.random\n")
    numbers: Any = import_module("numpy.random")
    numbers.seed(0)
    foreseen = numbers.random()
    numbers.seed(0)
    assert "" == shared.put_back()
    assert foreseen != numbers.random()


def test_figures_are_closed(shared: SharedState) -> None:
    """The next charm draws on a figure of its own."""
    pytest.importorskip("matplotlib.pyplot")
    load(shared, "import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt\n")
    plt: Any = import_module("matplotlib.pyplot")
    plt.plot([1, 2])
    assert [1] == plt.get_fignums()
    assert "" == shared.put_back()
    assert [] == plt.get_fignums()


def test_finder_of_six_stays(shared: SharedState) -> None:
    """What a library needs to be imported from is not taken from the charms that come later."""
    pytest.importorskip("six")
    load(shared, "import six\n")
    assert "" == shared.put_back()
    load(shared, "from six.moves.urllib.parse import quote\n")
    assert "" == shared.put_back()


def test_nested_loops_cost_the_worker(shared: SharedState) -> None:
    """`nest_asyncio` cannot be taken out again: it is named, so that the worker is replaced."""
    pytest.importorskip("nest_asyncio")
    load(shared, "import nest_asyncio\n")
    asyncio: Any = import_module("asyncio")
    before = {name: getattr(asyncio, name) for name in ("run", "Task", "get_event_loop")}
    loop = asyncio.new_event_loop()
    import_module("nest_asyncio").apply(loop)
    assert "names of asyncio" == shared.put_back()
    loop.close()
    vars(asyncio).update(before)
