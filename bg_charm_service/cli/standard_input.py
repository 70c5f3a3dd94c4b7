"""What is not to stand on a command line: from standard input, or asked for without an echo."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.quantities import size_text

#: Stands for standard input.
STANDARD_INPUT = "-"

#: A line of it is not longer, in characters.
_LONGEST_LINE = 1024 * 1024


def read_line() -> str:
    """Read one line of standard input, without its end; raises InvalidInput."""
    return _read_line().rstrip("\r\n")


def _read_line() -> str:
    """Read one line with its end, which only a last one may lack; empty where nothing comes."""
    line = _text_of(lambda: sys.stdin.readline(_LONGEST_LINE + 1))
    if len(line) > _LONGEST_LINE:
        raise InvalidInput(f"Standard input: a line is over {size_text(_LONGEST_LINE)}.")
    return line


def _text_of(read: Callable[[], str]) -> str:
    try:
        text = read()
        # In some locales Python reads bytes that are no text as halves of characters.
        text.encode()
    except UnicodeError:
        raise InvalidInput("Standard input: this is not a text in UTF-8.") from None
    return text


def read_all(most_characters: int) -> str:
    """Read standard input to its end; raises InvalidInput for more than that."""
    text = _text_of(lambda: sys.stdin.read(most_characters + 1))
    if len(text) > most_characters:
        raise InvalidInput(f"Standard input: it is over {size_text(most_characters)}.")
    return text


def ask_for(name: str, *, hidden: bool) -> str:
    """Ask a person for a line, or read one where there is no terminal; raises InvalidInput.

    An empty line is an answer; that nothing more comes is none.
    """
    if not sys.stdin.isatty():
        line = _read_line()
        if not line:
            raise InvalidInput(f"Standard input: it is over, and a line for {name} is missing.")
        return line.rstrip("\r\n")
    text: str = click.prompt(name, default="", hide_input=hidden, show_default=False, err=True)
    return text
