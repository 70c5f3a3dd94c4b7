"""openai: an answer of a model, waited for.

Keep the key in a `Secret` field. A new client reads all certificates.
"""

import openai

from bg_charm_service import Charm


class OpenaiSync(Charm):
    """Asks a question."""

    url: str = ""
    answer: str = ""

    def bg_updater(self, event: dict) -> None:
        with openai.OpenAI(api_key="key", base_url=f"{self.url}/openai") as client:
            done = client.chat.completions.create(
                model="some-model", messages=[{"role": "user", "content": "Hello?"}]
            )
            self.answer = done.choices[0].message.content or ""
