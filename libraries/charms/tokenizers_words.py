"""tokenizers: a text cut into tokens.

What models need is fetched at each first use: scratch is emptied after each run.
"""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from bg_charm_service import Charm


class TokenizersWords(Charm):
    """Counts tokens."""

    count: int = 0

    def bg_updater(self, event: dict) -> None:
        tokenizer = Tokenizer(WordLevel({"hello": 0, "world": 1, "?": 2}, unk_token="?"))
        tokenizer.pre_tokenizer = Whitespace()
        self.count = sum(len(one) for one in tokenizer.encode_batch(["hello world"] * 100))
