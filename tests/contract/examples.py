"""Tests with examples, on each engine: fewer on one where each of them costs many times as much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis.strategies import SearchStrategy

from tests.contract.engine import ENGINES

#: Of so many examples one is made: what an engine has of its own shows with few.
ONE_OF = {"postgres": 5}


def on_each_engine(
    count: int, **drawn: SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[[str], None]]:
    """Run a test with so many examples; it is given the name of the engine, and what is drawn."""

    def decorate(test: Callable[..., None]) -> Callable[[str], None]:
        @pytest.mark.parametrize("name", ENGINES)
        def on_engine(name: str) -> None:
            def run(**values: Any) -> None:
                test(name, **values)

            run.__qualname__ = test.__qualname__
            few = max(1, count // ONE_OF.get(name, 1))
            settings(max_examples=few, deadline=None)(given(**drawn)(run))()

        on_engine.__name__, on_engine.__qualname__ = test.__name__, test.__qualname__
        on_engine.__doc__, on_engine.__module__ = test.__doc__, test.__module__
        return on_engine

    return decorate
