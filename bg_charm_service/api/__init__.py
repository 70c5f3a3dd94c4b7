"""The HTTP API: thin routes over the service's commands, the same on every transport.

No rule lives here: routes read requests, call one command each, and answer with its views.
Importing this package costs nothing; `create_app` imports the web framework. Called by the
service, which serves it on its socket, and by the client of a stopped service, in-process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from bg_charm_service.api.auth.allowed_origins import ServiceAddress
    from bg_charm_service.api.large_bodies import LargeBodies
    from bg_charm_service.domain.typed_commands import Reader
    from bg_charm_service.service.commands import Commands


def create_app(
    commands: Commands,
    service_address: ServiceAddress | None = None,
    large_bodies: LargeBodies | None = None,
    reader: Reader | None = None,
) -> FastAPI:
    """Make the ASGI application that answers from these commands.

    Without an address it is not reached over the network. Without `large_bodies` those are read in
    place, and hold up everybody else. `reader` is who reads its pages on this machine.
    """
    from bg_charm_service.api.application import build_app
    from bg_charm_service.api.auth.allowed_origins import ServiceAddress
    from bg_charm_service.domain.typed_commands import Reader

    address = service_address or ServiceAddress()
    return build_app(commands, address, large_bodies, reader or Reader())
