"""yt-dlp: a page without a film.

Its own error says so.
"""

from yt_dlp import YoutubeDL

from bg_charm_service import Charm


class YtDlpPage(Charm):
    """Looks for a film."""

    url: str = ""

    def bg_updater(self, event: dict) -> None:
        with YoutubeDL({"quiet": True}) as films:
            films.extract_info(f"{self.url}/page", download=False)
