"""sympy: an equation solved with symbols."""

import sympy

from bg_charm_service import Charm


class SympySolve(Charm):
    """Solves an equation."""

    roots: list[str] = []

    def bg_updater(self, event: dict) -> None:
        x = sympy.symbols("x")
        self.roots = [str(root) for root in sympy.solve(x**2 - 5 * x + 6, x)]
