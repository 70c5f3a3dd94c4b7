"""The words of a charm's class that are said to the service: neither fields nor streams of it.

Owns the names and what is told of a class that uses one, or a name of `Charm`, for something else.
Read from a class by `sdk.class_words`, understood by `schedules`; used by the commands that add.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

#: Words that a class says by a plain attribute, `every = 300`.
VALUE_WORDS: Final = ("every", "cron", "time_zone", "quiet", "missed", "expects")

#: Words that a class says by a method.
METHOD_WORDS: Final = ("migrate",)

#: What a word may be: whatever else it is in a class comes as the text of its repr.
Said = str | int | float | bool


def told_of_names(
    fields: Collection[str], hidden: Sequence[str], withheld: Sequence[str]
) -> list[str]:
    """Say in sentences what a new charm's names mean beside the service's own.

    `fields` are those of the class, `hidden` the names of `Charm` that it uses for something of its
    own, `withheld` the methods that are no streams because they are called like a word.
    """
    told = [
        f"Its own {name!r} counts, not that of Charm: self.{name} is what its class makes of it. "
        "Another name keeps both."
        for name in hidden
    ]
    told += [
        f"{word!r} is a field of it, since it has a type: it says nothing to the service. Write it "
        f"without one, `{word} = ...`, if it is meant so."
        for word in VALUE_WORDS
        if word in fields
    ]
    told += [
        f"{name!r} is a word of the class, so this method is no stream; give it another name to "
        "make it one."
        for name in withheld
    ]
    return told
