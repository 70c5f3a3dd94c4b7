"""tiktoken: a text cut into tokens.

The encodings of models are fetched at each first use, over port 443.
"""

import tiktoken

from bg_charm_service import Charm


class TiktokenTokens(Charm):
    """Counts tokens."""

    count: int = 0

    def bg_updater(self, event: dict) -> None:
        bytes_alone = {bytes([number]): number for number in range(256)}
        encoding = tiktoken.Encoding(
            "bytes", pat_str=r"\S+|\s+", mergeable_ranks=bytes_alone, special_tokens={}
        )
        self.count = len(encoding.encode("hello world"))
