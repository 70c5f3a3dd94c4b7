"""What senders sign is taken, by their published examples; what is not theirs, or old, is not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from bg_charm_service.api.hooks.deliveries import Unreadable, challenge_of, read_delivery
from bg_charm_service.api.hooks.signatures import is_signed
from bg_charm_service.api.rates import Rates
from bg_charm_service.domain.events.hooks import HookSchema, check_hook
from tests.fakes import senders
from tests.fakes.senders import Request

NOW = 1_790_000_000.0

SECRET = "a secret that both sides know"


def hook(sign: str, **more: str) -> HookSchema:
    """A hook of a scheme."""
    return HookSchema(sign, "secret", **more)  # type: ignore[arg-type]


def is_taken(made: HookSchema, request: Request, *, secret: str = SECRET, now: float = NOW) -> bool:
    """Whether a request is taken."""
    return is_signed(made, (secret,), request.headers, request.body, now)


def test_the_example_of_github() -> None:
    """docs.github.com, "Validating webhook deliveries": testing the webhook payload validation."""
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    request = Request(b"Hello, World!", {"x-hub-signature-256": signature})
    assert is_taken(hook("github"), request, secret="It's a Secret to Everybody")


def test_the_example_of_slack() -> None:
    """docs.slack.dev, "Verifying requests from Slack": step by step."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
        b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
        b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015"
        b".47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    request = Request(body, headers)
    assert is_taken(hook("slack"), request, secret=secret, now=1531420618.0)
    assert not is_taken(hook("slack"), request, secret=secret, now=1531420618.0 + 301)
    read = read_delivery(hook("slack"), headers, body, NOW)
    event = json.loads(read.event)
    assert "roadrunner" == event["body"]["user_name"]
    assert "398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c" == read.delivery_id


def test_the_example_of_standard_webhooks() -> None:
    """The vector that the libraries of Standard Webhooks are tested with, and their signing."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body, name, at = b'{"test": 2432232314}', "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    own = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert own == Webhook(secret).sign(name, datetime.fromtimestamp(at, UTC), body.decode())
    headers = {"webhook-id": name, "webhook-timestamp": str(at), "webhook-signature": own}
    request = Request(body, headers)
    assert is_taken(hook("standard-webhooks"), request, secret=secret, now=float(at))
    for other in (own.replace("g0", "h0"), own.replace("v1,", "v2,"), own.upper(), "v1,"):
        unlike = replace(request, headers=headers | {"webhook-signature": other})
        assert not is_taken(hook("standard-webhooks"), unlike, secret=secret, now=float(at))
    for bad_secret in ("whsec_", "whsec_é", "no base64 at all"):
        assert not is_taken(hook("standard-webhooks"), request, secret=bad_secret, now=float(at))
    not_text = replace(request, body=b"\xff\xfe")
    assert not is_taken(hook("standard-webhooks"), not_text, secret=secret, now=float(at))


REQUESTS = {
    "github": senders.github(SECRET, {"ref": "main"}, delivery="1"),
    "slack": senders.slack_event(SECRET, {"type": "event_callback"}, at=NOW),
    "stripe": senders.stripe(SECRET, {"id": "evt_1", "type": "charge.succeeded"}, at=NOW),
    "standard-webhooks": senders.standard(
        "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", {"type": "x"}, name="msg_1", at=NOW
    ),
    "hmac": Request(b"{}", {"x-signature-256": senders.mac(SECRET.encode(), b"{}")}),
    "token": Request(b"{}", {"authorization": f"Bearer {SECRET}"}),
    "websub": senders.hub(SECRET, b"<feed/>", method="sha1"),
}

SECRETS = {"standard-webhooks": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


@pytest.mark.parametrize("sign", REQUESTS)
def test_only_what_was_signed_is_taken(sign: str) -> None:
    """Not another body, not another secret, not an old one where it is dated, and not without."""
    made, request, secret = hook(sign), REQUESTS[sign], SECRETS.get(sign, SECRET)
    assert is_taken(made, request, secret=secret)
    assert is_signed(made, ("another", secret), request.headers, request.body, NOW)
    assert not is_taken(made, request, secret=secret[:-2] + "xx")
    assert not is_signed(made, (), request.headers, request.body, NOW)
    assert not is_taken(made, replace(request, headers={}), secret=secret)
    if sign != "token":
        assert not is_taken(made, replace(request, body=request.body + b" "), secret=secret)
    is_dated = sign in ("slack", "stripe", "standard-webhooks")
    for seconds in (-299, 299):
        assert is_taken(made, request, secret=secret, now=NOW + seconds)
    for seconds in (-301, 301):
        assert is_taken(made, request, secret=secret, now=NOW + seconds) is not is_dated


@pytest.mark.parametrize("sign", REQUESTS)
@given(data=st.data())
def test_no_header_breaks_the_check(sign: str, data: st.DataObject) -> None:
    """Whatever stands in the headers, and in the secret: it is a refusal, and no fault."""
    request = REQUESTS[sign]
    texts = st.text(st.characters(max_codepoint=255), max_size=40)
    headers = {name: data.draw(texts) for name in request.headers}
    body, secret = data.draw(st.binary(max_size=40)), data.draw(st.text(max_size=40))
    assert not is_taken(hook(sign), Request(body, headers), secret=secret + SECRET)


def test_a_sender_may_name_its_header() -> None:
    """GitLab has a token in a header of its own, others their HMAC, and the id of a delivery."""
    gitlab = hook("token", header="X-Gitlab-Token", id_header="X-Gitlab-Event-UUID")
    headers = {"x-gitlab-token": SECRET, "x-gitlab-event-uuid": "u1", "x-gitlab-event": "Push Hook"}
    request = Request(b'{"object_kind": "push"}', headers | {"content-type": "application/json"})
    assert is_taken(gitlab, request)
    assert not is_taken(gitlab, replace(request, headers={"authorization": f"Bearer {SECRET}"}))
    read = read_delivery(gitlab, request.headers, request.body, NOW)
    event = json.loads(read.event)
    assert ("u1", {"object_kind": "push"}) == (read.delivery_id, event["body"])
    assert {"x-gitlab-event-uuid", "x-gitlab-event", "content-type"} == set(event["headers"])
    signed = senders.mac(SECRET.encode(), b"{}").upper()
    for given_ in (signed, f"sha256={signed.lower()}"):
        request = Request(b"{}", {"x-mine": given_})
        assert is_taken(hook("hmac", header="X-Mine"), request)


@pytest.mark.parametrize(
    ("content_type", "body", "read"),
    [
        ("application/json", b'{"a": [1]}', {"a": [1]}),
        ("application/cloudevents+json; charset=utf-8", b"[1]", [1]),
        ("application/json", b"", None),
        ("", b'{"a": 1}', {"a": 1}),
        ("", b"words", "words"),
        ("text/plain", b'{"a": 1}', '{"a": 1}'),
        (
            "application/x-www-form-urlencoded",
            b"a=1&b=2&b=3&c=",
            {"a": "1", "b": ["2", "3"], "c": ""},
        ),
        ("application/x-www-form-urlencoded", b"payload=%7B%22a%22%3A1%7D", {"a": 1}),
        ("application/xml", b"<a>\xe9</a>", "<a>\ufffd</a>"),
    ],
)
def test_a_body_is_read_by_its_kind(content_type: str, body: bytes, read: object) -> None:
    """JSON as it is, the fields of a form, its payload where it has one, anything else as text."""
    event = json.loads(read_delivery(hook("hmac"), {"content-type": content_type}, body, NOW).event)
    assert (read, NOW) == (event["body"], event["received_at"])


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 200 + b"]" * 200, b"9" * 5000, b"nan"])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    """Where it says that it is."""
    with pytest.raises(Unreadable):
        read_delivery(hook("hmac"), {"content-type": "application/json"}, body, NOW)


def test_nothing_that_proves_a_sender_is_kept() -> None:
    """Neither signatures, nor tokens, nor cookies, nor where a request came along."""
    for sign, request in REQUESTS.items():
        on_the_way = {"cookie": "c", "x-forwarded-for": "192.0.2.1", "x-real-ip": "192.0.2.1"}
        read = read_delivery(hook(sign), request.headers | on_the_way, request.body, NOW)
        kept = json.loads(read.event)["headers"]
        assert not {name for name in kept if "signature" in name or "auth" in name}
        assert not kept.keys() & on_the_way.keys()


def test_ids_and_types_are_those_that_senders_give() -> None:
    """GitHub's and Standard Webhooks' in headers, Stripe's and Slack's in the body."""
    said = {}
    for sign in ("github", "stripe", "standard-webhooks", "websub"):
        request = REQUESTS[sign]
        read = read_delivery(hook(sign), request.headers, request.body, NOW)
        said[sign] = (read.delivery_id, json.loads(read.event)["type"])
    assert {
        "github": ("1", "push"),
        "stripe": ("evt_1", "charge.succeeded"),
        "standard-webhooks": ("msg_1", "x"),
        "websub": ("", ""),
    } == said
    event = {"type": "event_callback", "event_id": "Ev1", "event": {"type": "message"}}
    request = senders.slack_event(SECRET, event, at=NOW)
    read = read_delivery(hook("slack"), request.headers, request.body, NOW)
    assert ("Ev1", "message") == (read.delivery_id, json.loads(read.event)["type"])
    assert challenge_of(hook("slack"), read) is None
    question = {"type": "url_verification", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHk"}
    request = senders.slack_event(SECRET, question, at=NOW)
    read = read_delivery(hook("slack"), request.headers, request.body, NOW)
    assert question["challenge"] == challenge_of(hook("slack"), read)
    assert challenge_of(hook("github"), read) is None


def test_what_cannot_be_a_hook_is_refused() -> None:
    """Schemes that there are not, options of others, a hub without a topic."""
    for wrong in (
        hook("gitlab"),
        HookSchema("github", ""),
        hook("github", header="X-Mine"),
        hook("hmac", header="X Mine"),
        hook("websub"),
        hook("github", topic="topic"),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            check_hook(wrong)


def test_ten_a_second_come_to_an_address() -> None:
    """Each has its own; one that is over gets more as time passes."""
    rates = Rates()
    assert 10 == sum(rates.admits(1, 0.0) for _ in range(50))
    assert rates.admits(2, 0.0)
    assert [True, False] == [rates.admits(1, 0.1), rates.admits(1, 0.1)]
    assert 10 == sum(rates.admits(1, 100.0) for _ in range(50))
    assert rates.admits(1, 90.0) is False
