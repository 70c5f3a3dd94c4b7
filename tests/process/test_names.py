"""Charms are named by a space and a cause wherever they are named by an id."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bg_charm_service.domain.identity import space_did
from tests.process.running import CHARMS, Refused, RunningCharm, Service

LINKED = (CHARMS / "linked.py").read_text()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose file names two charms that are not there yet, and one that cannot be."""
    folder = tmp_path_factory.mktemp("names")
    (folder / "config.toml").write_text('charms = ["demo/hello", "a/b/world"]\n')
    flags = (f"--config={folder / 'config.toml'}", "--interval=1", "--max-retries=0")
    with Service(folder / "data", *flags) as running:
        yield running


@pytest.fixture
def target(service: Service, request: pytest.FixtureRequest) -> RunningCharm:
    """A charm that others link to, in a space whose name holds a slash."""
    return service.add(space="a/b", cause=request.node.name, values={"counter": 7})


def test_charms_of_the_configuration(service: Service) -> None:
    """A named charm that is not there is told of, and polled once it is there."""
    space = space_did("demo")
    told = f"Integration manual lists {space}/hello, which is not known here"
    service.wait_for("scan", message=told)
    for where, cause in (("demo", "hello"), ("a/b", "world")):
        charm = service.add(space=where, cause=cause)
        charm.wait_for("run.succeeded", times=2)
        assert (False, ["manual"]) == (charm.view()["registered"], charm.view()["listed_by"])
    assert 1 == service.count("scan", message=told)


@pytest.mark.parametrize("space", ["demo", space_did("demo")])
def test_registrations(service: Service, space: str, request: pytest.FixtureRequest) -> None:
    """A registration over HTTP takes the space's name or DID, and the charm's cause."""
    charm = service.add(space="demo", cause=request.node.name)
    body = {"pieceId": request.node.name, "space": space, "integration": "by hand"}
    service.request("POST", "/api/integrations/bg", body)
    assert ("by hand", True) == (charm.view()["integration"], charm.view()["registered"])


def test_a_registration_of_nobody(service: Service) -> None:
    """A name that names no charm is refused, and the member that has it is named."""
    body = {"charmId": "nobody", "space": "demo", "integration": "x"}
    with pytest.raises(Refused, match=r"^charmId: Invalid charm ID: nobody\."):
        service.request("POST", "/api/integrations/bg", body)


def test_the_command_that_registers(service: Service, target: RunningCharm) -> None:
    """`register` takes the same name as every other command."""
    # That is its class, not its cause.
    assert 1 == service.cli("register", "a/b/Scripted").returncode
    assert 0 == service.cli("register", "a/b/test_the_command_that_registers").returncode
    assert target.view()["registered"]


@pytest.mark.parametrize("flag", ["--link", "--writable-link"])
def test_links(service: Service, target: RunningCharm, flag: str) -> None:
    """A link leads to a named charm, and to a field of it; who may write is as with an id."""
    name = f"a/b/{target.show()['charm']['cause']}/counter"
    added = service.cli(
        *("charm", "add", str(CHARMS / "linked.py"), "--space", "demo"),
        *("--cause", f"linked by {flag}", flag, f"number={name}"),
    )
    assert 0 == added.returncode, added.stderr
    charm = RunningCharm(service, added.stdout.strip())
    charm.perform()
    assert 7 == charm.get("seen")
    run = charm.perform(write=20)
    assert (flag == "--writable-link") == (run["status"] == "success")
    shown = charm.show()["links"]
    assert [f"{target.ref}/counter"] == [link["target"] for link in shown]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("demo/nobody/counter", "The link number leads to demo/nobody/counter, which does not"),
        ("demo", "Not a link: 'demo'"),
        ("did:key:x/counter", "Invalid space ID: did:key:x"),
    ],
)
def test_links_to_nobody(service: Service, text: str, reason: str) -> None:
    """A link that leads nowhere is refused, and nothing is added."""
    with pytest.raises(Refused, match=f"^{reason}"):
        service.add(LINKED, cause="to nobody", links={"number": text})


def test_a_link_that_could_lead_to_two(service: Service) -> None:
    """Where a space's name and a charm's path can both be meant, the id has to be given."""
    first = service.add(space="x", cause="y")
    second = service.add(space="x/y", cause="counter")
    with pytest.raises(Refused, match="x/y/counter names several charms: ") as caught:
        service.add(LINKED, cause="to two", links={"number": "x/y/counter"})
    assert first.ref in str(caught.value)
    assert second.ref in str(caught.value)
    service.add(LINKED, cause="to one", links={"number": f"x/{first.charm_id}/counter"})
