"""What keeps one from a mailbox, in a sentence that says what to do. Used by `imap`.

Texts are those that servers give, as far as they were seen; where none fits, the server's own
words stand for themselves.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import Final

from bg_charm_service.sdk.endings import ProviderDown, SignInNeeded, Wait

#: Who takes no password of the account, by the ends of the names of their servers; and where one
#: for programs is made.
_APP_PASSWORDS: Final = {
    "gmail.com": "https://myaccount.google.com/apppasswords",
    "googlemail.com": "https://myaccount.google.com/apppasswords",
    "fastmail.com": "https://app.fastmail.com/settings/security",
    "messagingengine.com": "https://app.fastmail.com/settings/security",
    "mail.me.com": "https://account.apple.com/account/manage",
    "yahoo.com": "https://login.yahoo.com/account/security",
}

_NO_PASSWORDS: Final = ("office365.com", "outlook.com")

#: What Gmail and others say where a password for programs is wanted.
_WANTS_APP_PASSWORD: Final = re.compile(r"app(lication)?[- ](specific )?password", re.IGNORECASE)

#: And where the mailbox may not be read by IMAP at all.
_IS_OFF: Final = re.compile(
    r"not enabled for imap|imap (access )?(is )?(disabled|not (enabled|allowed|available))"
    r"|enable imap",
    re.IGNORECASE,
)

#: It may let the same user in later.
_IS_LIMITED: Final = re.compile(r"too many|try again|temporar|rate limit", re.IGNORECASE)

_TLS_PORT: Final = 993


def not_signed_in(host: str, user: str, said: str) -> SignInNeeded | Wait:
    """What a sign-in that was refused asks of a person; `said` is the server's text."""
    if _IS_LIMITED.search(said):
        return Wait(0, f"{host}: {' '.join(said.split()):.200}")
    url = next((url for end, url in _APP_PASSWORDS.items() if _is_of(host, end)), "")
    said = f"(it says: {' '.join(said.split()):.200})"
    if _IS_OFF.search(said):
        text = f"{host} does not let {user} in by IMAP: switch IMAP on in the settings of the mail"
        return SignInNeeded(f"{text} {said}")
    if any(_is_of(host, end) for end in _NO_PASSWORDS):
        text = f"{host} takes no passwords from programs any more, only OAuth sign-ins"
        return SignInNeeded(f"{text} {said}")
    if url or _WANTS_APP_PASSWORD.search(said):
        text = (
            f"{host} refused the password of {user}: it wants an app password, one that is made "
            "for this program; make one and set it"
        )
        return SignInNeeded(f"{text} {said}", url=url)
    text = f"{host} refused user {user} and the password: set the ones that are right"
    return SignInNeeded(f"{text} {said}")


def unreachable(host: str, port: int, error: BaseException, *, is_plain: bool) -> ProviderDown:
    """What a connection that could not be made asks of a person."""
    where = f"{host}, port {port}"
    usual = f"; mail over TLS is usually at port {_TLS_PORT}" if port != _TLS_PORT else ""
    if isinstance(error, socket.gaierror):
        text = f"there is no server {host}, or its name cannot be looked up now: is it spelt right?"
    elif isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message or "it cannot be checked"
        text = (
            f"the certificate of {where}, is not to be trusted ({reason}): name the server as its "
            "certificate does; one of your own belongs into SSL_CERT_FILE"
        )
    elif isinstance(error, ssl.SSLError):
        text = f"{where}, does not speak TLS{usual}"
    elif isinstance(error, ConnectionRefusedError):
        text = f"nobody listens at {where}{usual}"
    elif isinstance(error, TimeoutError):
        text = f"{where}, does not answer{usual}"
    elif isinstance(error, OSError):
        text = f"{where}, cannot be reached{usual}"
    else:
        # It was reached, and began with something else than a mail server does.
        text = f"{where}, does not speak IMAP{'' if is_plain else usual}"
    said = " ".join(str(error).split())
    return ProviderDown(f"{text} ({type(error).__name__}: {said:.200})", host=host)


def _is_of(host: str, end: str) -> bool:
    return host.lower().rstrip(".") == end or host.lower().rstrip(".").endswith(f".{end}")
