"""Is done one day, and says so."""

import httpx2

from bg_charm_service import Charm, Stop


class Parcel(Charm):
    """Follows a parcel until it has arrived."""

    url: str
    where: list[str] = []

    async def bg_updater(self, event: dict) -> None:
        """Note where it is."""
        async with httpx2.AsyncClient(timeout=5) as client:
            answer = await client.get(f"{self.url}/parcel")
        answer.raise_for_status()
        place = answer.json()["place"]
        if place == "delivered" and place in self.where:
            raise Stop("the parcel was delivered")
        self.where.append(place)
