"""The places inside a JSON value that links lead to."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.storage.sql.store.links import INSIDE_BYTES, value_at, with_value_at

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(json_values, json_values, st.text(max_size=3))
def test_written_part_is_read_back(whole: object, part: object, key: str) -> None:
    """What is put at a place is found there, and nothing beside it moved."""
    document = json.dumps({"kept": whole, "list": [whole, whole]}).encode()
    for path in ((f"x{key}",), ("list", "1"), ("kept",)):
        changed = with_value_at(document, path, json.dumps(part).encode())
        assert part == json.loads(value_at(changed, path))
        assert whole == json.loads(value_at(changed, ("list", "0")))


@pytest.mark.parametrize(
    "path", ["x", "list/2", "list/-1", "list/one", "list/\u0661", "text/0", "n/0"]
)
def test_no_such_place(path: str) -> None:
    """A place that is not there is an error that names it; lists are not read from their end."""
    document = b'{"list":[1,2],"text":"abc","n":5}'
    parts = tuple(path.split("/"))
    with pytest.raises(InvalidInput, match="There is nothing at"):
        value_at(document, parts)
    if len(parts) > 1:
        with pytest.raises(InvalidInput, match="There is nothing at"):
            with_value_at(document, parts, b"0")


def test_a_link_leads_into_values_of_some_size() -> None:
    """All of a value is read for a part of it: into a larger one leads no link, to it one may."""
    large = json.dumps({"x": "y" * INSIDE_BYTES}).encode()
    with pytest.raises(InvalidInput, match="leads into values of up to 1M"):
        value_at(large, ("x",))
    with pytest.raises(InvalidInput, match="leads into values of up to 1M"):
        with_value_at(large, ("x",), b"1")
    with pytest.raises(InvalidInput, match="leads into values of up to 1M"):
        with_value_at(b'{"x":1}', ("x",), large)
    assert large == with_value_at(b"1", (), large)
