"""numba: a loop compiled to machine code.

Compiles anew in each worker; `cache=True` keeps nothing, since scratch is emptied.
"""

import numba

from bg_charm_service import Charm


@numba.njit
def primes_below(most: int) -> int:
    """Count primes."""
    count = 0
    for number in range(2, most):
        divisor = 2
        while divisor * divisor <= number and number % divisor:
            divisor += 1
        count += divisor * divisor > number
    return count


class NumbaLoop(Charm):
    """Counts primes."""

    primes: int = 0

    def bg_updater(self, event: dict) -> None:
        self.primes = primes_below(20_000)
