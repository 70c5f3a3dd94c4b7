"""What the service says of itself as it starts: where it is, and what protects it, or does not.

Lines of the log only; nothing is decided here. Called by the daemon.
"""

from __future__ import annotations

import os

from loguru import logger

from bg_charm_service.api.auth.login_codes import LoginCodes
from bg_charm_service.api.routes.token_routes import login_link
from bg_charm_service.daemon.logs import LOGIN_LINK
from bg_charm_service.daemon.ports import HookPorts, Ports
from bg_charm_service.daemon.status_log import many, paused_text
from bg_charm_service.domain.identity import DEFAULT_PASSPHRASE, Identity
from bg_charm_service.domain.sandbox_mode import Isolation, Sandboxing, SandboxMode
from bg_charm_service.domain.version import VERSION
from bg_charm_service.service.bootstrap import Service


def log_address(ports: Ports, codes: LoginCodes, *, has_reader: bool) -> None:
    """Say where page and API are, and how to sign in: by a code only to who looks at it now."""
    if not ports.sockets:
        return
    logger.bind(event="listening", url=ports.service_address.base_url).info(
        "Page and API: {}", ports.shown
    )
    if not has_reader:
        # A code is as good as a password for its five minutes, and a log is kept and copied.
        logger.bind(event="how_to_sign_in").info("To sign in: `bg-charm-service open`")
        return
    link = login_link(ports.service_address, codes)
    logger.bind(event=LOGIN_LINK).info(
        "Sign in within {:g} minutes: {} (later: `bg-charm-service open`)",
        link.expires_seconds / 60,
        link.url,
    )


def log_started(service: Service) -> None:
    """Say that the service runs, and with what."""
    logger.bind(event="started").info(
        "bg-charm-service {} started: process {}, data in {}, {} polled every {:g} s with {}; "
        "status: `bg-charm-service status`",
        VERSION,
        os.getpid(),
        service.directory.path,
        many(len(service.polled_charms), "charm"),
        service.config.interval_seconds,
        many(service.config.pool.max_concurrent, "worker"),
    )
    paused = paused_text(service.commands.queries.status())
    if paused:
        logger.bind(event="status.paused").error("Paused: {}", paused)


def warn_of_default_identity(service: Service) -> None:
    """Warn of the passphrase that everybody knows."""
    if service.operator == Identity.from_passphrase(DEFAULT_PASSPHRASE).did():
        logger.bind(event="default_identity").warning(
            "The operator's identity is the public default: secrets are only as safe as the "
            "files' permissions; set OPERATOR_PASS or IDENTITY before anything secret is stored"
        )


def warn_of_missing_walls(sandboxing: Sandboxing) -> None:
    """Warn of what does not stand between charms and this machine, and between spaces."""
    if sandboxing.mode is SandboxMode.OFF:
        logger.bind(event="walls_off").warning(
            "--sandbox=off: charms run without walls; they can do whatever this user can"
        )
    elif sandboxing.missing:
        logger.bind(event="walls_missing").warning(
            "Not all walls around charms can be had here: {}. Run only charms that you trust with "
            "that; --sandbox=require refuses to start without all walls",
            sandboxing.missing_text,
        )
    if sandboxing.isolation is Isolation.SHARED:
        logger.bind(event="spaces_shared").warning(
            "--isolation=shared: there are no walls between spaces; a charm can read and change "
            "what charms of other spaces do in the same worker"
        )


def log_hooks(ports: HookPorts) -> None:
    """Say where senders outside reach hooks; an address of one is in no log."""
    there = ", ".join(
        f"{each.getsockname()[0]} port {each.getsockname()[1]}" for each in ports.sockets
    )
    logger.bind(event="hooks_listening", url=ports.url).info(
        "Hooks are taken at {}, which senders call {}", there, ports.url
    )


def log_closed_ports(service: Service, closed: frozenset[int]) -> None:
    """Say which allowed ports are left out after all, being the service's own."""
    for port in sorted(closed.intersection(service.config.limits.ports)):
        logger.bind(event="own_port_closed").info(
            "Charms cannot connect to port {}, on any host: this service's page and API are on a "
            "port of that number",
            port,
        )
