"""The files that pages load, the same for everybody: read once, named by what is in them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from bg_charm_service.api.auth.authorization import Public
from bg_charm_service.api.dependencies import make_router
from bg_charm_service.domain.errors import NotFound

router = make_router("files")

_FOLDER = Path(__file__).parents[1] / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    media_type: str
    version: str


@router.get("/favicon.ico", include_in_schema=False)
async def get_icon(caller: Public) -> Response:
    """Give the icon where browsers look for it by themselves."""
    return RedirectResponse(asset_url("icon.svg"), 308)


@router.get("/static/{name:path}", include_in_schema=False)
async def get_static_file(caller: Public, request: Request, name: str) -> Response:
    """Give a file; under the address that names its version it may be kept for ever."""
    asset = _assets().get(name)
    if asset is None:
        raise NotFound(f"There is no file {name:.100}.")
    is_pinned = request.query_params.get("v") == asset.version
    headers = {
        "cache-control": "public, max-age=31536000, immutable" if is_pinned else "no-cache",
        "etag": f'"{asset.version}"',
        "x-content-type-options": "nosniff",
        # The button is used on pages of other origins; what they may do with it is asked later.
        "access-control-allow-origin": "*",
        "cross-origin-resource-policy": "cross-origin",
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(None, 304, headers)
    return Response(asset.content, 200, headers, asset.media_type)


def asset_url(name: str) -> str:
    """Give the address of a file at its version; raises KeyError for one that is not there."""
    return f"/static/{name}?v={_assets()[name].version}"


@cache
def _assets() -> dict[str, _Asset]:
    found = {}
    for path in _FOLDER.rglob("*"):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            version = hashlib.sha256(content).hexdigest()[:12]
            name = path.relative_to(_FOLDER).as_posix()
            found[name] = _Asset(content, _TYPES[path.suffix], version)
    return found
