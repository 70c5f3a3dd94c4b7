"""The fields of a form that a page sent."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, Request

from bg_charm_service.domain.errors import InvalidInput

#: Fields that one form may have.
_MOST_FIELDS = 2000


class FormFields:
    """What was entered; a field that is missing is empty."""

    def __init__(self, body: bytes) -> None:
        try:
            self._fields = parse_qs(
                body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS
            )
        except ValueError:
            raise InvalidInput(f"This is no form of up to {_MOST_FIELDS} fields.") from None

    def text(self, name: str) -> str:
        """The text of a field."""
        return self._fields.get(name, [""])[0]

    def texts(self, name: str) -> list[str]:
        """The texts of a field that may be there several times."""
        return self._fields.get(name, [])


async def _read_form(request: Request) -> FormFields:
    return FormFields(await request.body())


Form = Annotated[FormFields, Depends(_read_form)]
