"""spacy: a text cut into words.

A model that was trained is a package too: name its wheel's own distribution, if PyPI has it.
"""

import spacy

from bg_charm_service import Charm


class SpacyWords(Charm):
    """Finds the words of a sentence."""

    words: list[str] = []

    def bg_updater(self, event: dict) -> None:
        self.words = [str(word) for word in spacy.blank("en")("It doesn't matter.")]
