"""What holds for all tests: how much hypothesis tries, and the switch of the hostile charms."""

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=100,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let tests/hostile run without walls: whatever only the walls hold fails then."""
    parser.addoption(
        "--sandbox",
        choices=("require", "off"),
        default="require",
        help="walls around the charms of tests/hostile (require, or off to see what they hold)",
    )
