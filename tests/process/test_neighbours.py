"""What a charm does to its process by accident reaches no other charm, and does not pile up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.process.running import RunningCharm, Service

#: A snippet as it is found in programs, by what is wrong with it: each is the body of a handler.
SNIPPETS = {
    "TLS checks": "ssl._create_default_https_context = ssl._create_unverified_context",
    "opener": "urllib.request.install_opener(urllib.request.build_opener())",
    "client": "http.client.HTTPSConnection = http.client.HTTPConnection",
    "addresses": "socket.getaddrinfo = lambda *_: []",
    "level": "logging.disable(logging.CRITICAL); logging.getLogger().setLevel(logging.CRITICAL)",
    "log file": "logging.basicConfig(force=True, filename='some.log', level=logging.ERROR)",
    "sinks": "logger.remove(); logger.add(sys.stderr, level='ERROR')",
    "more sinks": "logger.add(sys.stderr, format='{message}')",
    "more handlers": "logging.getLogger('some').addHandler(logging.StreamHandler(sys.stdout))",
    "errors": "warnings.filterwarnings('error')",
    "locale": "locale.setlocale(locale.LC_ALL, 'C')",
    "seed": "random.seed(0)",
    "path": "sys.path.insert(0, '/mine')",
    "hook": "sys.excepthook = lambda *_: None",
    "print": "builtins.print = lambda *_, **__: None",
    "encoder": "json.JSONEncoder.default = lambda self, one: 'mine'",
    "own attribute": "charms_of_all.key = 'mine'",
    "sleep": "time.sleep = lambda _: None",
    "socket": "socket.socket = object",
    "collector": "gc.set_threshold(1)",
    "time zone": "os.environ['TZ'] = 'XYZ-5'; time.tzset()",
    "tracebacks": "sys.tracebacklimit = 0",
    "a word for all": "gettext.install('some')",
    "a dump": "faulthandler.dump_traceback_later(0.001, file=open(os.devnull, 'w'), exit=False)",
    "module": "sys.modules.pop('json')",
}

IMPORTS = """\
import builtins, faulthandler, gc, gettext, http.client, json, locale, logging, os, random, socket
import ssl, sys, time, urllib.request, warnings
import xml.dom as charms_of_all
from loguru import logger
from bg_charm_service import Charm
"""

#: Does as it is told; looks at what is there, and writes in each way that there is.
LOOKER = (
    IMPORTS
    + """
class Looker(Charm):
    found: dict[str, str] = {}
    number: float = 0.0

    def bg_updater(self, event: dict) -> None:
        self.found = {
            "TLS": str(ssl._create_default_https_context),
            "opener": str(urllib.request._opener),
            "client": str(http.client.HTTPSConnection),
            "addresses": str(socket.getaddrinfo),
            "socket": str(socket.socket),
            "warnings": str([one[:3] for one in warnings.filters]),
            "locale": locale.setlocale(locale.LC_ALL),
            "path": str(sys.path),
            "hook": str(sys.excepthook),
            "print": str(print),
            "encoder": str(json.JSONEncoder.default),
            "attribute": str(getattr(charms_of_all, "key", None)),
            "sleep": str(time.sleep),
            "collector": str(gc.get_threshold()),
            "zone": str(time.tzname),
            "traceback": str(hasattr(sys, "tracebacklimit")),
            "words": str(hasattr(builtins, "_")),
            "module": str("json" in sys.modules),
            "handlers": str(logging.getLogger("some").handlers),
        }
        self.number = random.random()
        warnings.warn("warned")
        print("printed")
        logging.getLogger("some").info("logged")
        logger.info("written")
"""
)

SAID = ("UserWarning: warned", "printed", "INFO some: logged", "INFO charm_")


def doing(*snippets: str) -> str:
    """A charm that does these in each run."""
    body = "".join(f"\n        {one}" for one in snippets)
    return f"{IMPORTS}\nclass Doing(Charm):\n    def bg_updater(self, event):{body}\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one worker, so that all charms come after each other in it."""
    flags = ("--interval=3600", "--max-concurrent=1")
    with Service(tmp_path_factory.mktemp("neighbours") / "data", *flags) as running:
        yield running


def succeed(charm: RunningCharm) -> dict[str, Any]:
    """Let a charm run, which succeeds."""
    run = charm.perform()
    assert ("success", "") == (run["status"], run["error"])
    return run


def test_all_of_it_twelve_times(service: Service) -> None:
    """After each of twelve runs that do all of it, the next charm finds all as at first."""
    meddler, looker = service.add(doing(*SNIPPETS.values())), service.add(LOOKER)
    first = succeed(looker)
    found, numbers = looker.get("found"), {looker.get("number")}
    assert list(SAID) == [one for one in SAID if one in first["log"]]
    lines = first["log"].count("\n")
    for _ in range(12):
        meddled = succeed(meddler)
        run = succeed(looker)
        assert found == looker.get("found")
        assert list(SAID) == [one for one in SAID if one in run["log"]]
        assert lines == run["log"].count("\n")
        assert first["worker"] == meddled["worker"] == run["worker"]
        numbers.add(looker.get("number"))
    assert 13 == len(numbers)


def test_lines_do_not_pile_up(service: Service) -> None:
    """A charm that adds a handler and a sink in each run has as many lines in the last one."""
    charm = service.add(
        doing(
            SNIPPETS["more handlers"],
            SNIPPETS["more sinks"],
            "logging.getLogger('some').warning('one')",
            "logger.warning('two')",
        )
    )
    logs = {succeed(charm)["log"] for _ in range(12)}
    assert 1 == len(logs)
    assert (2, 2) == (logs.copy().pop().count("one"), logs.pop().count("two"))


#: What modules do, and what their handlers find of it in each run.
MODULES = {
    "warnings": ("warnings.filterwarnings('ignore')", "warnings.warn('warned')", ""),
    "logging": (
        "logging.basicConfig(force=True, stream=sys.stdout, format='mine %(message)s')",
        "logging.warning('told')",
        "mine told\n",
    ),
    "no effect": ("logging.basicConfig()", "logging.warning('told')", "WARNING root: told\n"),
    "locale": (
        "locale.setlocale(locale.LC_ALL, 'C')",
        "print(locale.setlocale(locale.LC_ALL))",
        "C\n",
    ),
    "path": ("sys.path.insert(0, '/mine')", "print(sys.path[0])", "/mine\n"),
    "seed": ("random.seed(0)", "print(random.random())", "0.8444218515250481\n"),
    "TLS": (
        "ssl._create_default_https_context = ssl._create_unverified_context",
        "print(ssl._create_default_https_context is ssl._create_unverified_context)",
        "True\n",
    ),
    "recursion": ("sys.setrecursionlimit(1500)", "print(sys.getrecursionlimit())", "1500\n"),
    "environ": ("os.environ['MINE'] = '1'", "print(os.environ['MINE'])", "1\n"),
    "precision": (
        "import decimal; decimal.getcontext().prec = 3",
        "print(decimal.Decimal(1) / 3); decimal.getcontext().prec = 5",
        "0.333\n",
    ),
    "loguru": (
        "logger.remove(0); logger.add(sys.stdout, format='mine {message}')",
        "logger.info('told')",
        "mine told\n",
    ),
    "word": ("gettext.install('some')", "print(_('told'))", "told\n"),
}


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_sets_is_of_its_class(service: Service, name: str) -> None:
    """What a charm's module sets holds in each run of its class, between others in one worker."""
    at_load, in_handler, expected = MODULES[name]
    source = doing(in_handler).replace(IMPORTS, f"{IMPORTS}{at_load}\n")
    # Two of one class, and one of another.
    charms = [service.add(source), service.add(source)]
    looker = service.add(LOOKER)
    before = succeed(looker)
    found = looker.get("found")
    workers = {before["worker"]}
    for _ in range(3):
        for charm in charms:
            run = succeed(charm)
            assert expected == run["log"]
            workers.add(run["worker"])
        workers.add(succeed(looker)["worker"])
        assert found == looker.get("found")
    assert 1 == len(workers)


def test_what_cannot_be_put_back_costs_the_worker(service: Service) -> None:
    """A loop that was made to nest is nobody else's: its worker is replaced, and that is said."""
    meddler = service.add(doing("import asyncio; asyncio.run = lambda *_: None"))
    meddled, run = succeed(meddler), succeed(service.add(LOOKER))
    assert meddled["worker"] != run["worker"]
