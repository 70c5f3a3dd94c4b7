"""Which members of an item stand in the columns of a table, as the item's type says it.

Those to which it gives a title, `sender: str = Field(title="From")`. Used when a class is
described, never for a run.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

#: A table has no more columns than this.
MOST_COLUMNS: Final = 8

#: The longest title, in characters.
_TITLE_CHARACTERS: Final = 60


def columns_of(item_type: Any) -> tuple[tuple[str, str], ...]:
    """Give the columns of a type of items, each with its key and its title; none where it has none.

    The key is that of the stored value.
    """
    if not (isinstance(item_type, type) and issubclass(item_type, BaseModel)):
        return ()
    titled = [
        (field.serialization_alias or field.alias or name, field.title[:_TITLE_CHARACTERS])
        for name, field in item_type.model_fields.items()
        if field.title
    ]
    return tuple(titled[:MOST_COLUMNS])
