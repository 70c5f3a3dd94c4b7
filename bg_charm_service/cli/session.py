"""What a command works with: the settings, and answers from the service or its directory.

Settings are read when first needed, so that help never fails on a bad variable.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import click

from bg_charm_service.daemon.settings import Settings, load_settings
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.model import CharmRef

if TYPE_CHECKING:
    from bg_charm_service.cli.client import Client

Given = TypeVar("Given")


class Session:
    """One call of the program."""

    def __init__(self, flags: Mapping[str, object]) -> None:
        self._flags = flags

    @cached_property
    def settings(self) -> Settings:
        """The settings; a bad variable of the environment is a usage error."""
        try:
            return load_settings(self._flags, os.environ)
        except InvalidInput as error:
            raise click.UsageError(str(error)) from None

    def ask(self, work: Callable[[Client], Awaitable[Given]]) -> Given:
        """Do some work with a client of the service."""
        import asyncio

        from bg_charm_service.cli.client import open_client

        async def ask() -> Given:
            async with open_client(self.settings) as client:
                return await work(client)

        return asyncio.run(ask())


pass_session = click.make_pass_decorator(Session)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def path_of(ref: CharmRef, *more: str) -> tuple[str, ...]:
    """Give the segments of a charm's path."""
    return ("charms", ref.space, ref.charm_id, *more)
