"""Leads a person through signing in for the first charm: the client, the browser, and back.

What Google's own pages say instead of sending a person back (a wrong redirect address, a wrong kind
of client) is read from the address of that page, or from what is typed of it. Used by
`demos/first_charm.py`.
"""

from __future__ import annotations

import json
import subprocess
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import click

from bg_charm_service.sign_in.providers import shipped_providers
from demos.commands import ROOT, SERVICE, Refused, run

#: How the ids of Google's OAuth clients end.
CLIENT_ID_END: Final = ".apps.googleusercontent.com"

STEPS: Final = """\
Google wants to know who asks. Once, with any Google account:

1. Switch the {api_title} on, in a project of yours:
   https://console.cloud.google.com/apis/library/{api}
2. Fill in the consent screen, External, and add yourself as a test user:
   https://console.cloud.google.com/auth/audience
   While it is in testing Google ends each sign-in after seven days; "Publish app" ends that. Google
   then warns of an app that it has not verified, which is yours: Advanced, Go to.
3. Create a client of the type Web application, with this authorised redirect URI:
   {redirect}
   https://console.cloud.google.com/auth/clients
"""


@dataclass(frozen=True)
class SignIn:
    """Where people sign in, and the API that the operator switches on for it."""

    provider: str
    api_title: str
    api: str


@cache
def redirect_uri(sign_in: SignIn, flags: tuple[str, ...]) -> str:
    """Where the provider sends people back to."""
    settings = json.loads(run(["config", "show", "--json"], flags))["settings"]
    url = next(one["value"] for one in settings if one["name"] == "api_url")
    return f"{url.rstrip('/')}/api/integrations/{sign_in.provider}-oauth/callback"


def explain(sign_in: SignIn, flags: tuple[str, ...]) -> None:
    """Say what a person does at Google first."""
    redirect = redirect_uri(sign_in, flags)
    click.echo(STEPS.format(api_title=sign_in.api_title, api=sign_in.api, redirect=redirect))


def give_client(sign_in: SignIn, issuer: str, flags: tuple[str, ...]) -> None:
    """Ask for the client, unless there is one that is to stay, and give it to the service."""
    has_one = _has_client(sign_in, flags)
    text = "Client id (Enter keeps the one that there is)" if has_one else "Client id"
    while True:
        client_id = click.prompt(text, default="" if has_one else None, show_default=False).strip()
        if not client_id:
            return
        if not issuer and not client_id.endswith(CLIENT_ID_END):
            click.echo(f"That is none: an id of a client at Google ends with {CLIENT_ID_END}.")
            continue
        secret = click.prompt("Client secret", hide_input=True).strip()
        of = ["--issuer", issuer] if issuer else []
        try:
            run(["auth", "client", sign_in.provider, *of], flags, f"{client_id}\n{secret}\n")
        except Refused as error:
            click.echo(f"\nThat did not work: {error}\n")
            continue
        return


def _has_client(sign_in: SignIn, flags: Sequence[str]) -> bool:
    done = subprocess.run(
        [*SERVICE, *flags, "auth", "list"], cwd=ROOT, check=False, text=True, capture_output=True
    )
    _, _, names = (done.stdout + done.stderr).partition("There is a client of: ")
    return sign_in.provider in names.partition(".")[0].split(", ")


def lead(sign_in: SignIn, ref: str, issuer: str, flags: tuple[str, ...]) -> None:
    """Have a person sign in for a charm; comes back once that is done."""
    while True:
        try:
            told = _sign_in_once(sign_in, ref, flags)
        except Refused as error:
            told = str(error)
        if not told:
            return
        click.echo(f"\nThat did not work: {told}\n")
        if "client" in told:
            give_client(sign_in, issuer, flags)


def _sign_in_once(sign_in: SignIn, ref: str, flags: tuple[str, ...]) -> str:
    """Begin to sign in, and take the way back; gives what went wrong, or nothing."""
    space, _, charm = ref.partition("/")
    command = ["auth", "login", sign_in.provider, "--space", space, "--charm", charm]
    with subprocess.Popen(
        [*SERVICE, *flags, *command],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as login:
        assert login.stdout is not None
        url = login.stdout.readline().strip()
        if not url:
            _, errors = login.communicate()
            return errors.strip()
        click.echo(f"\nOpen this address in a browser, on any machine, and sign in:\n\n{url}\n")
        click.echo(
            "Where the browser ends at a page that does not open, paste its address here.\n"
            "Where the page says that you are signed in, press Enter.\n"
            "Where Google shows an error, paste the address of that page, or type its word, such\n"
            "as redirect_uri_mismatch."
        )
        address = click.prompt("Address", default="", show_default=False).strip()
        word = "" if "state=" in address else said_by_google(address)
        out, errors = login.communicate("\n" if word else f"{address}\n")
    if word:
        advice = shipped_providers()[sign_in.provider].advice[word]
        return f"{word}: {advice.replace('REDIRECT', redirect_uri(sign_in, flags))}"
    if login.returncode:
        return errors.strip()
    if out.strip():
        click.echo(out.strip())
    elif not _is_signed_in(ref, flags):
        return "nobody has signed in yet"
    return ""


def _is_signed_in(ref: str, flags: Sequence[str]) -> bool:
    found = json.loads(run(["auth", "list", "--json"], flags))
    return any(f"{one['space']}/{one['charm_id']}" == ref and one["is_signed_in"] for one in found)


def said_by_google(text: str) -> str:
    """The word of Google's for a refusal that is in an address of its page, or was typed; or none.

    Its page has the word in `authError`, as base64.
    """
    words = shipped_providers()["google"].advice
    for piece in _pieces(text):
        for word in words:
            if word in piece:
                return word
    return ""


def _pieces(text: str) -> Iterator[str]:
    yield unquote(text).casefold()
    for value in parse_qs(urlsplit(text).query).get("authError", ()):
        data = value.encode("ascii", "ignore")
        try:
            yield urlsafe_b64decode(data + b"=" * (-len(data) % 4)).decode("ascii", "ignore")
        except ValueError:
            continue
