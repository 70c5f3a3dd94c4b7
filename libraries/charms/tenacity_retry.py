"""tenacity: something that is tried again."""

import tenacity

from bg_charm_service import Charm


class TenacityRetry(Charm):
    """Succeeds at the third try."""

    tries: int = 0

    def bg_updater(self, event: dict) -> None:
        for attempt in tenacity.Retrying(
            wait=tenacity.wait_none(), stop=tenacity.stop_after_attempt(3)
        ):
            with attempt:
                self.tries = attempt.retry_state.attempt_number
                if self.tries < 3:
                    raise TimeoutError
