"""Shows what is done for a charm's packages while it is added: that may take minutes.

The service is asked meanwhile; a step is told once. Only for sources that name packages, and only
where a person looks: on the error stream, when that is a terminal or a log.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bg_charm_service.cli.output.printing import note
from bg_charm_service.domain.errors import ServiceError
from bg_charm_service.domain.packages.script_block import has_block

if TYPE_CHECKING:
    from bg_charm_service.cli.client import Client, Response

#: How often the service is asked, in seconds.
_ASK_SECONDS = 0.5


async def with_progress(
    client: Client, space: str, body: Mapping[str, Any], request: Coroutine[Any, Any, Response]
) -> Response:
    """Wait for the answer to a request with a source, and tell what is done for it meanwhile."""
    if not has_block(str(body["source"])):
        return await request
    import asyncio

    telling = asyncio.create_task(_tell(client, space, str(body["file"])))
    try:
        return await request
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(client: Client, space: str, file: str) -> None:
    import asyncio

    from bg_charm_service.domain.views import PackageStep

    told = ""
    while True:
        await asyncio.sleep(_ASK_SECONDS)
        # Whoever may add a charm need not be able to read; the answer to that comes by itself.
        with suppress(ServiceError):
            steps = (await client.get("spaces", space, "packages")).read(list[PackageStep])
            doing = next((step.doing for step in steps if step.file == file), told)
            if doing != told:
                told = doing
                note(f"Packages: {doing} …")
