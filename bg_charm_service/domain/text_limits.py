"""How many characters of an error, a traceback or an output are kept or shown, and how it is cut.

One rule for all: what is longer than its limit is cut to it, the mark that says so included.
What an error quotes of somebody's input is cut to 100 characters by its format, `{name:.100}`.
Pure. Used by whoever stores, sends or shows such a text.
"""

from __future__ import annotations

from typing import Final

#: What is stored of a run's error and of its traceback: a worker may answer with any length.
STORED_ERROR_CHARACTERS: Final = 2_000
STORED_TRACEBACK_CHARACTERS: Final = 20_000

#: What a worker itself answers of them. Less, so that what it cut and marked is not cut again.
REPORTED_ERROR_CHARACTERS: Final = 1_900
REPORTED_TRACEBACK_CHARACTERS: Final = 19_000

#: A traceback that is made longer loses its middle first: an error's own text has any length, and
#: stands at the end.
FORMATTED_TRACEBACK_CHARACTERS: Final = 32 * 1024

#: An error as one line among others: of the log, of the event stream, of an integration's scan.
#: What it is about has the whole of it.
LINE_ERROR_CHARACTERS: Final = 500

#: A failing charm's last error in the status that is logged: every charm takes a line there.
STATUS_ERROR_CHARACTERS: Final = 200

#: The error of an HTTP response, which may repeat what was sent.
RESPONSE_ERROR_CHARACTERS: Final = 4_000

#: The one line that a command fails with: what a terminal is good for.
COMMAND_ERROR_CHARACTERS: Final = 1_000

#: An error as one line of a page.
PAGE_LINE_CHARACTERS: Final = 160

#: A run's log and traceback in the list of runs; the run's own page has all of it.
PAGE_LOG_CHARACTERS: Final = 4_000

#: What is told of the output of a backup hook that failed, from its end: the reason stands there.
HOOK_OUTPUT_CHARACTERS: Final = 500

#: What one notice says, and what a charm may say by it; how many things a run says to people.
NOTICE_CHARACTERS: Final = 1_000
MOST_NOTICES: Final = 20

#: A value as a usage error quotes it: a setting, and JSON, which is quoted twice on one line.
QUOTED_SETTING_CHARACTERS: Final = 80
QUOTED_JSON_CHARACTERS: Final = 40

#: A value that a run wrote, on one line of a terminal.
WRITTEN_VALUE_CHARACTERS: Final = 200

#: The event of a dead letter, wherever it is shown.
LETTER_EVENT_CHARACTERS: Final = 2_000


def cut(text: str, most_characters: int, mark: str = "…") -> str:
    """Give a text of at most so many characters; one that was cut ends in the mark."""
    if len(text) <= most_characters:
        return text
    return text[: most_characters - len(mark)] + mark
