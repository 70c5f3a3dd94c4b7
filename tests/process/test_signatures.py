"""Requests signed by the key of a space's owner: each is good once, for exactly what it says."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from bg_charm_service.api.auth.request_signing import RequestText, authorization
from bg_charm_service.domain.identity import Identity, space_did
from tests.process.reaching import OPERATOR_PASS, OWNER, Reached, Signed, reached
from tests.process.running import Service

ADDRESSES = (f"127.0.4.{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A service whose space `test` has an owner beside the operator."""
    with reached(tmp_path_factory.mktemp("signatures")) as found:
        yield found


def signed(door: Reached, method: str, target: str, body: bytes = b"") -> dict[str, str]:
    """Give the header of a signed request."""
    host = door.url.removeprefix("http://")
    text = RequestText(method, host, target, body)
    return {"authorization": authorization(OWNER, text, time.time())}


def test_an_owner_registers_and_changes(door: Reached) -> None:
    """An owner's key is as good as a token of the space."""
    with door.client(auth=Signed(OWNER), address=next(ADDRESSES)) as client:
        answer = client.post("/api/integrations/bg", content=door.registration())
        assert 200 == answer.status_code, answer.text
        assert 200 == client.get(f"{door.charm.path}/runs?limit=2").status_code
        assert 200 == client.put(f"{door.charm.path}/state/counter", json=3).status_code


def test_a_replay_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    """The same request sent twice is taken once."""
    with reached(tmp_path) as door:
        path = f"{door.charm.path}/disable"
        headers = signed(door, "POST", path)
        door.charm.register()
        with door.client(headers=headers) as client:
            assert 200 == client.post(path).status_code
            assert "sent before" in client.post(path).text
        assert 0 == door.service.stop()
        address = door.url.removeprefix("http://")
        again = Service(
            door.service.data_dir,
            f"--listen={address}",
            "--interval=3600",
            OPERATOR_PASS=OPERATOR_PASS,
        )
        with again, door.client(headers=headers) as client:
            replayed = client.post(path)
            assert (401, True) == (replayed.status_code, "sent before" in replayed.text)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "{charm}/enable", b""),
        ("PUT", "{charm}/state/counter", b"4"),
        ("PUT", "{charm}/state/error", b"3"),
        ("PUT", "{charm}/state/counter?x=1", b"3"),
        ("DELETE", "{charm}", b""),
    ],
)
def test_a_signature_is_for_one_request(door: Reached, method: str, path: str, body: bytes) -> None:
    """What was signed for one method, path and body is not good for another."""
    headers = signed(door, "PUT", f"{door.charm.path}/state/counter", b"3")
    with door.client(headers=headers, address=next(ADDRESSES)) as client:
        answer = client.request(method, path.format(charm=door.charm.path), content=body)
    assert (401, True) == (answer.status_code, "does not hold" in answer.text)


@pytest.mark.parametrize("seconds", [-3600, -90, 90, 3600])
def test_a_signature_is_of_this_minute(door: Reached, seconds: float) -> None:
    """An old signature, or one for later, is refused, with the time of the service."""
    auth = Signed(OWNER, now=time.time() + seconds)
    with door.client(auth=auth, address=next(ADDRESSES)) as client:
        answer = client.get(f"{door.charm.path}/state")
    assert (401, True) == (answer.status_code, "not of this minute" in answer.text)


@pytest.mark.parametrize("text", ["x", "nonsense", 'did="x"', "Basic eDp5", "Bearer"])
def test_what_is_no_signature_is_refused(door: Reached, text: str) -> None:
    """Whatever stands in the header, the answer is 401 in the one form."""
    value = text if " " in text else f"Charm-Signature {text}"
    with door.client(headers={"authorization": value}, address=next(ADDRESSES)) as client:
        answer: httpx2.Response = client.get("/api/status")
    assert (401, "Bearer") == (answer.status_code, answer.headers["www-authenticate"])
    assert ["error", "kind"] == list(answer.json())


def test_a_space_that_owns_another_is_no_signer(door: Reached) -> None:
    """The key of a named space is refused even where its DID was granted before it was a space."""
    key = Identity.from_passphrase("common user").derive("later")
    path = f"/api/spaces/{space_did('test')}/owners"
    door.service.request("POST", path, {"did": key.did()})
    door.service.add(cause="of a later space", space="later")
    with door.client(auth=Signed(key), address=next(ADDRESSES)) as client:
        assert 401 == client.get(f"{door.charm.path}/state").status_code
