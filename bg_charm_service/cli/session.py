"""What a command works with: the settings, and answers from the service or its directory.

Settings are read when first needed, so that help never fails on a bad variable.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import click

from bg_charm_service.daemon.config_file import Configuration, read_configuration
from bg_charm_service.daemon.readers import reader_of_command, reader_of_log
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.typed_commands import Reader

if TYPE_CHECKING:
    from bg_charm_service.cli.client import Client

Given = TypeVar("Given")


class Session:
    """One call of the program."""

    def __init__(self, flags: Mapping[str, object], *, is_service: bool = False) -> None:
        self._flags = flags
        self._is_service = is_service

    @property
    def flags(self) -> Mapping[str, object]:
        """What was given with flags, by setting."""
        return self._flags

    @cached_property
    def configuration(self) -> Configuration:
        """The settings with where they come from; a bad variable or file is a usage error."""
        try:
            return read_configuration(self._flags, os.environ)
        except InvalidInput as error:
            raise click.UsageError(str(error)) from None

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.configuration.settings

    @cached_property
    def reader(self) -> Reader:
        """Whoever called the program, or looks into the log of the service, and reads it there."""
        if not self._is_service:
            return reader_of_command(self._flags, os.environ)
        try:
            return reader_of_log(self.settings)
        except click.UsageError:
            # That is what is being told.
            return Reader()

    def ask(
        self, work: Callable[[Client], Awaitable[Given]], *, makes_directory: bool = False
    ) -> Given:
        """Do some work with a client of the service.

        Where neither a service runs nor a data directory is, `makes_directory` makes one, for
        commands that a new one begins with; all others raise NotFound.
        """
        import asyncio

        from bg_charm_service.cli.client import open_client

        async def ask() -> Given:
            async with open_client(self.settings, makes_directory=makes_directory) as client:
                return await work(client)

        return asyncio.run(ask())


def typeable(text: str) -> str:
    """Let whoever called this command type the commands that a text names, as they stand."""
    context = click.get_current_context(silent=True)
    session = context.find_object(Session) if context is not None else None
    return session.reader.typeable(text) if session is not None else text


pass_session = click.make_pass_decorator(Session)


def path_of(ref: CharmRef, *more: str) -> tuple[str, ...]:
    """Give the segments of a charm's path."""
    return ("charms", ref.space, ref.charm_id, *more)
