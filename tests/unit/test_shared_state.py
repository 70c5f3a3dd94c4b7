"""Each charm of a process finds what they share as if it were alone there."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import resource
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bg_charm_service.domain.errors import CompilerError
from bg_charm_service.workers.runtime.assigned_names import (
    AssignedName,
    assigned_names,
    is_harmless,
)
from bg_charm_service.workers.runtime.class_loader import load_class
from bg_charm_service.workers.runtime.shared_state import Setup, SharedState
from bg_charm_service.workers.runtime.watched_state import (
    WATCHED,
    LastModules,
    Modules,
    Watched,
    attributes,
)
from tests.unit import sharing_deeds
from tests.unit.sharing_deeds import ANY, DEEDS

#: What a file needs to be a charm's.
CHARM = """
from bg_charm_service import Charm
class Some(Charm):
    def bg_updater(self, event): ...
"""

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with no module that another test has loaded and removed."""
    monkeypatch.setattr(LastModules, "kept", Modules())


@pytest.fixture
def shared() -> Iterator[SharedState]:
    """What is shared, watched; as it was before once the test is over."""
    state = SharedState()
    begin(state)
    yield state
    state.begin_load(ANY)
    assert "" == state.put_back()
    state.end()


def begin(state: SharedState) -> None:
    """Let it watch, as for a class that may change anything."""
    state.begin_load(ANY)
    state.end_load()


def load(shared: SharedState, source: str) -> Setup:
    """Let a charm be loaded whose file begins with this source."""
    # What pytest itself has set since.
    assert "" == shared.put_back()
    text = source + CHARM
    shared.begin_load(text)
    cls = load_class(text, "some.py")
    setup = shared.end_load()
    del sys.modules[cls.__module__]
    return setup


#: Notes what it has patched, as that of gevent does. One for all tests: readers of it are kept.
MONKEY: Any = ModuleType("gevent.monkey")
MONKEY.saved = {}
MONKEY.patch_all = lambda: MONKEY.saved.update(threading={})


@pytest.fixture
def gevent_monkey(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have it where gevent would be."""
    package: Any = ModuleType("gevent")
    package.monkey = MONKEY
    monkeypatch.setitem(sys.modules, "gevent", package)
    monkeypatch.setitem(sys.modules, "gevent.monkey", MONKEY)
    return MONKEY


@pytest.mark.parametrize("top", ["", "monkey.patch_all()\n"], ids=["in a run", "at its top"])
def test_what_gevent_patched_costs_the_worker(
    gevent_monkey: Any, shared: SharedState, top: str
) -> None:
    """Another charm's thread would wait for ever: nothing of the sort is left to it."""
    load(shared, f"from gevent import monkey\n{top}")
    gevent_monkey.patch_all()
    assert "what gevent patched" == shared.put_back()
    gevent_monkey.saved.clear()
    assert "" == shared.put_back()


@pytest.fixture(scope="module")
def done() -> dict[str, list[str]]:
    """What was wrong with each deed, as a run and as a module, done in another process."""
    command = [sys.executable, "-m", sharing_deeds.__name__]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (0, "") == (ended.returncode, ended.stderr)
    found: dict[str, list[str]] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("name", DEEDS)
def test_what_a_run_changes_is_put_back(done: dict[str, list[str]], name: str) -> None:
    """After a run all is as it was before it, also where it does the same each time."""
    assert "" == done[name][0]


@pytest.mark.parametrize("name", DEEDS)
def test_what_a_module_changes_is_of_its_class(done: dict[str, list[str]], name: str) -> None:
    """What is done while a class is loaded holds in each of its runs, and in nobody else's."""
    assert "" == done[name][1]


def test_plain_classes_share_one_setup(shared: SharedState) -> None:
    """A class whose module changes nothing costs nothing between it and others like it."""
    assert load(shared, "import json, csv\nLIMIT = 3\n") is load(shared, "import logging\n")


def test_next_numbers_are_nobodys(shared: SharedState) -> None:
    """A run that seeds the generator leaves other numbers to the next one."""
    random.seed(0)
    foreseen = random.random()
    random.seed(0)
    assert "" == shared.put_back()
    assert foreseen != random.random()


def test_class_that_seeds_begins_with_the_same_numbers(shared: SharedState) -> None:
    """Each run of a class whose module seeds the generator begins as its first did."""
    plain = load(shared, ANY)
    own = load(shared, "import random\nrandom.seed(0)\n")
    numbers = []
    for _ in range(3):
        numbers.append(random.random())
        assert "" == shared.put_back()
        shared.enter(own)
    assert numbers == [numbers[0]] * 3
    shared.enter(plain)
    assert numbers[0] != random.random()


def test_failed_load_leaves_nothing(shared: SharedState) -> None:
    """What a module set before it failed is put back like the rest."""
    before = list(warnings.filters)
    with pytest.raises(CompilerError, match="ZeroDivisionError"):
        load(shared, "import warnings\nwarnings.filterwarnings('error')\n1 / 0\n")
    assert before != list(warnings.filters)
    assert "" == shared.put_back()
    assert before == list(warnings.filters)


def test_removed_name_is_put_back(shared: SharedState) -> None:
    """What a run deletes is there again."""
    before = socket.getaddrinfo
    del socket.getaddrinfo
    assert "" == shared.put_back()
    assert before is socket.getaddrinfo


def test_handlers_of_a_run_are_closed(shared: SharedState, tmp_path: Path) -> None:
    """A file that a run logs to does not stay open."""
    handler = logging.FileHandler(tmp_path / "mine.log")
    logging.root.addHandler(handler)
    assert "" == shared.put_back()
    assert handler.stream is None


def test_what_cannot_be_put_back_is_named(
    shared: SharedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others would find changed is said, so that the worker is replaced."""
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "run", lambda *_: None)
        assert "names of asyncio" == shared.put_back()
    assert "" == shared.put_back()


def test_limits_that_were_set_are_named() -> None:
    """A call that sets a limit is noted, whatever it set."""
    state = SharedState()
    begin(state)
    resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE))
    assert "limits of its own" == state.put_back()
    state.end()


# --- libraries


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Make a library that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def make(text: str, name: str = "some_library") -> None:
        (tmp_path / f"{name}.py").write_text(text)
        made.append(name)

    yield make
    for name in made:
        sys.modules.pop(name, None)


#: What a library may do while it is loaded, for all that use it.
LIBRARY = """
import json, logging, sys, warnings
warnings.filterwarnings("ignore", message="size changed")
logging.getLogger("some_library").addHandler(logging.NullHandler())
class Finder:
    def find_spec(self, *_): return None
sys.meta_path.append(Finder)
before, json.JSONEncoder.default = json.JSONEncoder.default, lambda self, one: str(one)
option = 1
"""


def test_what_a_library_does_once_stays(
    library: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library is loaded once: what it did then counts for all, in whatever run that was."""
    monkeypatch.setattr(json.JSONEncoder, "default", json.JSONEncoder.default)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path.copy())
    monkeypatch.setattr(warnings, "filters", list(warnings.filters))
    library(LIBRARY)
    shared = SharedState()
    begin(shared)
    own = load(shared, "import warnings\nwarnings.filterwarnings('ignore', message='mine')\n")
    plain = load(shared, ANY)
    # In a handler, which changes something itself before and afterwards.
    warnings.filterwarnings("error")
    module = __import__("some_library")
    warnings.filterwarnings("error", message="more")
    assert "" == shared.put_back()
    for setup, is_own in ((plain, False), (own, True)):
        shared.enter(setup)
        messages = [one[1].pattern if one[1] else "" for one in warnings.filters]
        assert "size changed" in messages
        assert is_own == ("mine" in messages)
        assert "more" not in messages
        assert ("error", None, Warning, None, 0) not in warnings.filters[:2]
        assert module.Finder in sys.meta_path
        assert "NullHandler" in str(logging.getLogger("some_library").handlers)
        assert json.JSONEncoder.default is not module.before
        assert "" == shared.put_back()
    shared.end()
    logging.getLogger("some_library").handlers.clear()


def test_library_that_is_loaded_later_is_watched(library: Callable[..., None]) -> None:
    """A row counts from the moment on that its module is there."""
    library("option = 1\n")
    shared = SharedState([attributes("some_library", "option")])
    begin(shared)
    load(shared, ANY)
    module: Any = __import__("some_library")
    module.option = 2
    assert "" == shared.put_back()
    assert 1 == module.option
    shared.end()


def test_library_without_such_a_name_is_left_alone(library: Callable[..., None]) -> None:
    """Another version of a library, which lacks what is watched, harms nobody."""
    library("other = 1\n", "other_library")
    rows = [attributes("other_library", "option"), attributes("other_library", "other")]
    shared = SharedState(rows)
    begin(shared)
    module: Any = __import__("other_library")
    module.other = 2
    assert "" == shared.put_back()
    assert 1 == module.other
    shared.end()


def test_import_is_told_of_as_the_charms_own(
    library: Callable[..., None], shared: SharedState
) -> None:
    """A warning that names who imports names the charm, and a traceback shows nothing of ours."""
    library("import warnings\nwarnings.warn('old', DeprecationWarning, stacklevel=2)\n1 / 0\n")
    code = compile("import some_library", "charm.py", "exec")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(ZeroDivisionError) as failed:
            exec(code, {})
    assert ["charm.py"] == [one.filename for one in seen]
    files = [str(entry.path) for entry in failed.traceback[1:]]
    assert ["charm.py", "some_library.py"] == [Path(file).name for file in files]


# --- what a source shows


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", True),
        ("from datetime import datetime\nimport re", True),
        ("from typing import (\n    Any,\n)", True),
        ("import sys", False),
        ("import re, sys", False),
        ("from os.path import join", False),
        ("import re; import sys", False),
        ("def run():\n    import warnings", False),
        ("some = __import__('sys')", False),
        ("__builtins__['print'] = None", False),
        ("exec('x = 1')", False),
        ("import some_library", False),
    ],
)
def test_harmless_sources_are_told(source: str, *, expected: bool) -> None:
    """Only what has nothing at hand to change others with is not looked after."""
    assert expected == is_harmless(source + CHARM)


def test_harmless_class_finds_all_as_it_was(shared: SharedState) -> None:
    """It is not looked after, and no other's settings are its own."""
    before = list(warnings.filters)
    own = load(shared, "import warnings\nwarnings.filterwarnings('error')\n")
    assert "" == shared.put_back()
    harmless = load(shared, "import re\n")
    for setup, is_own in (harmless, False), (own, True), (harmless, False):
        shared.enter(setup)
        assert is_own == (before != list(warnings.filters))
        assert "" == shared.put_back()


# --- names that a charm's own file assigns


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import stripe\nstripe.api_key = 'x'", [("stripe", "api_key")]),
        ("import a.b\na.b.c = 1", [("a", "b", "c")]),
        ("import a.b as c\ndef f():\n    c.d += 1", [("a.b", "d")]),
        ("from a import B\nB.c = 1", [("a", "B", "c")]),
        ("import a\na.x, a.y = 1, 2", [("a", "x"), ("a", "y")]),
        ("import a\na.rc['size'] = 1", [("a", "rc", ("size",))]),
        ("import a\ndel a.x", [("a", "x")]),
        ("import a\nsetattr(a.B, 'x', 1)", [("a", "B", "x")]),
        ("import a\nx = a.b\nif a.b == 1: f(a, c=2)\nself.a = 1", []),
        ("import os, sys\nos.environ['A'] = 'b'\nsys.path[:] = []", []),
        ("a = f()\na.b = 1", []),
        ("from . import a\na.b = 1", []),
        ("import a\na.b = (", []),
    ],
)
def test_assigned_names_are_found(source: str, expected: list[tuple[Any, ...]]) -> None:
    """What a file assigns below a module that it imports is seen in its source."""
    found = [AssignedName(module, tuple(steps)) for module, *steps in expected]
    assert found == list(assigned_names(source))


def test_assigned_names_are_put_back(library: Callable[..., None], shared: SharedState) -> None:
    """Whatever library that is: what a class assigns by itself is seen by no other class."""
    library("class Client:\n    key = None\noptions = {'size': 1}\n")
    first = load(
        shared,
        "import some_library\nsome_library.Client.key = 'first'\n"
        "def run():\n    some_library.options['size'] = 7\n    some_library.more = 1\n",
    )
    module: Any = sys.modules["some_library"]
    module.options["size"], module.more = 7, 1
    assert "" == shared.put_back()
    assert ("first", {"size": 1}, False) == (
        module.Client.key,
        module.options,
        hasattr(module, "more"),
    )
    second = load(shared, "from some_library import Client\nClient.key = 'second'\n")
    plain = load(shared, ANY)
    for setup, key in ((first, "first"), (plain, None), (second, "second"), (first, "first")):
        shared.enter(setup)
        assert key == module.Client.key
        assert "" == shared.put_back()


def test_assigned_names_of_a_module_that_a_run_loads(
    library: Callable[..., None], shared: SharedState
) -> None:
    """What it was is noted when the module is loaded, and not before."""
    library("key = None\n")
    own = load(shared, "def run():\n    import some_library\n    some_library.key = 'mine'\n")
    module: Any = __import__("some_library")
    module.key = "mine"
    assert "" == shared.put_back()
    assert module.key is None
    shared.enter(own)
    assert module.key is None


def test_module_that_is_replaced_by_name(shared: SharedState) -> None:
    """`sys.modules["sqlite3"] = …` is the class's own, and the others have theirs."""
    plain = load(shared, ANY)
    own = load(shared, "import sys, types\nsys.modules['made_up'] = types.ModuleType('mine')\n")
    assert "mine" == sys.modules["made_up"].__name__
    assert "" == shared.put_back()
    shared.enter(plain)
    assert "made_up" not in sys.modules
    shared.enter(own)
    assert "mine" == sys.modules["made_up"].__name__
    assert "" == shared.put_back()


# --- the table

#: The rows of what is always there; other libraries do not come with the service.
STANDARD = [
    row for row in WATCHED if row.module.partition(".")[0] in {*sys.stdlib_module_names, "loguru"}
]


def test_rows_are_named_once() -> None:
    """What is said of a worker that is replaced tells one row from another."""
    names = [(row.name, row.module, row.read) for row in WATCHED]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("row", STANDARD, ids=lambda row: f"{row.name} in {row.module}")
def test_rows_count_on_this_python(row: Watched) -> None:
    """Each row of the standard library can be read here: none is left out in silence."""
    __import__(row.module)
    state = SharedState([row])
    begin(state)
    assert [row] == state._rows
    assert "" == state.put_back()
    state.end()
