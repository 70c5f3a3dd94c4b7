"""nltk: stems of words.

What needs its data has to get it in each run: `nltk.download` writes into scratch.
"""

from nltk.stem import PorterStemmer
from nltk.tokenize import WordPunctTokenizer

from bg_charm_service import Charm


class NltkStems(Charm):
    """Finds the stems of a sentence."""

    stems: list[str] = []

    def bg_updater(self, event: dict) -> None:
        words = WordPunctTokenizer().tokenize("Charms were running.")
        self.stems = [PorterStemmer().stem(word) for word in words]
