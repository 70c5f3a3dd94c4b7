"""The one place where errors of commands end: each becomes one line, `Error: …`, and exit 1."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bg_charm_service.cli.output.formatting import short_line
from bg_charm_service.cli.session import typeable
from bg_charm_service.daemon.settings import SETTINGS
from bg_charm_service.domain.errors import AuthorizationError, CompilerError, ServiceError
from bg_charm_service.domain.text_limits import COMMAND_ERROR_CHARACTERS


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what is raised inside into what click shows, and exits with, by itself."""
    try:
        yield
    except click.NoSuchOption as error:
        raise _misplaced(error) or _shortened(error) from None
    except click.ClickException as error:
        raise _shortened(error) from None
    except (click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            # Who reads our output has enough of it; click ends quietly.
            raise
        raise click.ClickException(_reason(error)) from None


def _shortened(error: click.ClickException) -> click.ClickException:
    """Let a refusal repeat no more of what was written than a terminal is good for."""
    written = error.format_message()
    told = typeable(written)
    if told == written and len(told) <= COMMAND_ERROR_CHARACTERS:
        return error
    if isinstance(error, click.UsageError):
        return click.UsageError(short_line(told), error.ctx)
    return click.ClickException(short_line(told))


def _misplaced(error: click.NoSuchOption) -> click.UsageError | None:
    """Say so when an option of the program was written after a command."""
    flags = [setting.flag for setting in SETTINGS]
    if error.option_name not in flags:
        return None
    return click.UsageError(f"{error.option_name} stands before the command.", error.ctx)


def _reason(error: Exception) -> str:
    return typeable(what_went_wrong(error))


def what_went_wrong(error: Exception) -> str:
    """Give the one line that tells of an error, without `Error:` before it."""
    if isinstance(error, CompilerError | AuthorizationError):
        # People look these two up by their names.
        return short_line(f"{type(error).__name__}: {error}")
    if isinstance(error, ServiceError):
        return short_line(str(error))
    if isinstance(error, ExceptionGroup):
        return what_went_wrong(error.exceptions[0])
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return short_line(f"Internal error: {type(error).__name__}: {error}{place}")
