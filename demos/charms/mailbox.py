"""Has a token that was revoked, and says what a person can do about it."""

import httpx2

from bg_charm_service import Charm, Secret, SignInNeeded


class Mailbox(Charm):
    """Counts unread mails."""

    url: str
    token: Secret[str]
    unread: int | None = None

    async def bg_updater(self, event: dict) -> None:
        """Ask how many there are."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx2.AsyncClient(timeout=5) as client:
            answer = await client.get(f"{self.url}/mail", headers=headers)
        if answer.status_code == 401:
            raise SignInNeeded("the token was revoked", url="https://mail.example.org/tokens")
        answer.raise_for_status()
        self.unread = answer.json()["unread"]
