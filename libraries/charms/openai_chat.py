"""openai: an answer of a model.

Keep the key in a `Secret` field. A new client reads all certificates.
"""

import openai

from bg_charm_service import Charm


class OpenaiChat(Charm):
    """Asks a question."""

    url: str = ""
    answer: str = ""

    async def bg_updater(self, event: dict) -> None:
        async with openai.AsyncOpenAI(api_key="key", base_url=f"{self.url}/openai") as client:
            done = await client.chat.completions.create(
                model="some-model", messages=[{"role": "user", "content": "Hello?"}]
            )
            self.answer = done.choices[0].message.content or ""
