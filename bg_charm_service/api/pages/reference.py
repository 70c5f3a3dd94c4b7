"""The API's reference at /docs: the OpenAPI document as a page, without an outside host."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Public
from bg_charm_service.api.pages.rendering import make_page_router, page
from bg_charm_service.domain.disclosure import OPEN, OpenText

router = make_page_router()

_METHODS = ("get", "post", "put", "delete", "patch")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as the reference shows it."""

    method: OpenText
    path: OpenText
    name: OpenText
    text: OpenText
    parameters: Annotated[list[dict[str, Any]], OPEN]
    body: OpenText
    answer: OpenText


@router.get("/docs")
async def show_reference(request: Request, caller: Public) -> Response:
    """Show every operation of the API."""
    document = request.app.openapi()
    groups: dict[str, list[Operation]] = {}
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                tag = item[method].get("tags", ["other"])[0]
                groups.setdefault(tag, []).append(_operation(document, path, method, item[method]))
    return page(request, "reference.html", groups=groups, title=document["info"]["title"])


def _operation(
    document: dict[str, Any], path: str, method: str, described: dict[str, Any]
) -> Operation:
    parameters = [
        {
            "name": one["name"],
            "place": one["in"],
            "required": one.get("required", False),
            "kind": _kind(one.get("schema", {})),
            "default": one.get("schema", {}).get("default"),
        }
        for one in described.get("parameters", [])
    ]
    body = described.get("requestBody", {}).get("content", {})
    good = described.get("responses", {}).get("200", {}).get("content", {})
    return Operation(
        method.upper(),
        path,
        described["operationId"],
        described.get("description", ""),
        parameters,
        _example(document, body),
        _example(document, good),
    )


def _example(document: dict[str, Any], content: dict[str, Any]) -> str:
    for media_type, described in content.items():
        if not described.get("schema"):
            return media_type
        return json.dumps(_shape(document, described["schema"], 4), indent=2, ensure_ascii=False)
    return ""


def _shape(document: dict[str, Any], schema: dict[str, Any], depth: int) -> Any:
    """A value that shows a schema: names and kinds."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema = document["components"]["schemas"][name]
    if depth and "properties" in schema:
        return {key: _shape(document, one, depth - 1) for key, one in schema["properties"].items()}
    if depth and schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        return [_shape(document, schema["items"], depth - 1)]
    return _kind(schema)


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    return str(schema.get("type", "any JSON"))
