"""nltk: its data, which PyPI does not have.

It says itself what is missing.
"""

import nltk

from bg_charm_service import Charm


class NltkData(Charm):
    """Needs what has to be downloaded."""

    words: list[str] = []

    def bg_updater(self, event: dict) -> None:
        self.words = nltk.word_tokenize("Charms were running.")
