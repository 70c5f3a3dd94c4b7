"""anthropic: an answer of a model.

Keep the key in a `Secret` field. A new client reads all certificates.
"""

import anthropic

from bg_charm_service import Charm


class AnthropicMessage(Charm):
    """Asks a question."""

    url: str = ""
    answer: str = ""

    def bg_updater(self, event: dict) -> None:
        with anthropic.Anthropic(api_key="key", base_url=f"{self.url}/anthropic") as client:
            done = client.messages.create(
                model="some-model",
                max_tokens=10,
                messages=[{"role": "user", "content": "Hello?"}],
            )
            self.answer = done.content[0].text
