"""Names that the service has taken since: a stored charm keeps what it calls by them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from bg_charm_service.domain.class_words import METHOD_WORDS, VALUE_WORDS
from tests.fixtures.databases.make_names import FIELDS, STREAMS
from tests.process.running import Refused, RunningCharm, Service

DATABASE = Path(__file__).parents[1] / "fixtures" / "databases" / "names-7.db.gz"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on a directory that was written before the names were taken."""
    data = tmp_path_factory.mktemp("names") / "data"
    data.mkdir(mode=0o700)
    path = data / "bg-charm-service.db"
    path.touch(0o600)
    path.write_bytes(gzip.decompress(DATABASE.read_bytes()))
    passphrase = "a passphrase of this operator"
    with Service(data, "--interval=3600", OPERATOR_PASS=passphrase) as found:
        yield found


def stored(service: Service, cause: str) -> RunningCharm:
    """Give the charm that was added for a cause."""
    charms = service.request("GET", "/api/charms")["charms"]
    (charm,) = (each for each in charms if each["cause"] == cause)
    return RunningCharm(service, f"{charm['space']}/{charm['charm_id']}")


@pytest.mark.parametrize(
    ("cause", "fields", "streams"), [("fields", FIELDS, STREAMS), ("turned", STREAMS, FIELDS)]
)
def test_fields_and_streams_of_those_names_work_on(
    old: Service, cause: str, fields: tuple[str, ...], streams: tuple[str, ...]
) -> None:
    """Each field counts on, each stream runs, a field can be set, and an update keeps them all."""
    charm = stored(old, cause)
    assert charm.run()["status"] == "success"
    assert {charm.get(name) for name in fields} == {2}
    outside = [name.partition("_")[0] + name.partition("_")[2].title() for name in streams]
    for stream in outside:
        assert charm.perform(stream)["status"] == "success"
    assert charm.get("ran") == list(streams)
    charm.set(fields[0], 7)
    source = old.request("GET", f"{charm.path}/source")["source"]
    assert charm.update(f"{source}\n# changed\n")["applied"]
    assert set(outside) <= set(charm.show()["streams"])
    assert charm.perform(outside[2])["status"] == "success"
    charm.run()
    assert charm.get(fields[0]) == 8
    assert charm.show()["schedule"]["words"] == "every 60 min"


def test_plain_attributes_of_those_names_stay_constants(old: Service) -> None:
    """Until it gets new source: then they are words, and have to make sense."""
    charm = stored(old, "constant")
    charm.set("said", "nothing yet")
    assert charm.run()["status"] == "success"
    assert charm.get("said") == "fortnight not True 1 5 so"
    assert charm.show()["schedule"]["set_by"] == "service"
    source = old.request("GET", f"{charm.path}/source")["source"]
    with pytest.raises(Refused, match="every and cron are two schedules"):
        charm.update(f"{source}\n# changed\n")


def test_a_new_charm_is_told_what_its_names_mean(old: Service) -> None:
    """It is added all the same, with a sentence for each name."""
    source = "\n".join(
        [
            "from bg_charm_service import Charm",
            "class New(Charm):",
            "    context: str = 'mine'",
            *(f"    {name}: int = 0" for name in VALUE_WORDS),
            "    async def bg_updater(self, event: dict) -> None: self.context += '.'",
            *(f"    async def {name}(self, event: dict) -> None: pass" for name in METHOD_WORDS),
        ]
    )
    body = {"source": source, "space": "new", "file": "new.py"}
    added = old.request("POST", "/api/charms", body)
    told = added["notes"]
    assert told[0].startswith("Its own 'context' counts, not that of Charm")
    assert [text.split("'")[1] for text in told[1:]] == [*VALUE_WORDS, *METHOD_WORDS]
    charm = RunningCharm(old, f"{added['space']}/{added['charm_id']}")
    assert charm.run()["status"] == "success"
    assert charm.get("context") == "mine."
    assert charm.show()["streams"] == ["bgUpdater"]
    assert old.request("POST", "/api/charms", body)["notes"] == []
