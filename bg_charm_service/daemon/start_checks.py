"""What a start would refuse, told without starting: the settings, the key, walls, integration, log.

The same code as a start decides each; here all of it is gathered. What only a start can find out
(a data directory in use, a port that is taken) is not looked at. Called by the command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from loguru import logger

from bg_charm_service.daemon.config_file import ConfigFile, find_config_file
from bg_charm_service.daemon.logs import check_log_file
from bg_charm_service.daemon.node import check_database
from bg_charm_service.daemon.notice_settings import notice_rules
from bg_charm_service.daemon.operator_identity import operator_identity
from bg_charm_service.daemon.ports import check_listen
from bg_charm_service.daemon.settings import SETTINGS, Settings, load_settings
from bg_charm_service.domain.clock import SystemClock
from bg_charm_service.domain.errors import InvalidInput, ServiceError
from bg_charm_service.scanning.charm_list import parse_manual_charms
from bg_charm_service.scanning.scanner import Scanner
from bg_charm_service.service.bootstrap import find_walls


def check_start(
    flags: Mapping[str, object], environ: Mapping[str, str]
) -> tuple[Path | None, list[str]]:
    """Give the configuration file that counts, and all that is wrong; each is one line."""
    try:
        file = find_config_file(flags, environ)
    except InvalidInput as error:
        return None, [str(error)]
    settings, problems = _settings(file, flags, environ)
    problems += parse_manual_charms(settings.charms)[1]
    checks: list[Callable[[], object]] = [
        lambda: operator_identity(settings, environ),
        lambda: find_walls(settings.sandbox, settings.isolation, settings.data_dir),
        lambda: check_log_file(settings.log_file),
        lambda: check_listen(settings),
        lambda: check_database(settings),
        lambda: check_spans(settings),
        lambda: notice_rules(settings, is_polling=True),
        lambda: asyncio.run(_find_integration(settings)),
    ]
    for check in checks:
        try:
            check()
        except ServiceError as error:
            problems.append(str(error))
    return file.path, problems


def _settings(
    file: ConfigFile, flags: Mapping[str, object], environ: Mapping[str, str]
) -> tuple[Settings, list[str]]:
    """Join what can be read, and tell what cannot."""
    problems = list(file.problems)
    good = dict(environ)
    for row in SETTINGS:
        try:
            row.from_environment(environ)
        except InvalidInput as error:
            # A flag wins over a variable, which is then not even read.
            if not flags.get(row.name):
                problems.append(str(error))
            for variable in row.variables:
                good.pop(variable.name, None)
    return load_settings(flags, good, file.values), problems


def check_spans(settings: Settings) -> None:
    """Refuse spans of runs that are wanted and cannot be sent; raises ServiceError."""
    if settings.otel_enabled:
        # Only then: its libraries are many.
        from bg_charm_service.daemon.run_spans import check_otel

        check_otel(settings)


async def check_integration(scanner: Scanner, name: str) -> None:
    """Refuse an integration that does not exist, and log those that cannot be used."""
    catalogue = await scanner.describe()
    for problem in catalogue.problems:
        logger.bind(event="integration_broken").warning("{}", problem)
    names = [info.id for info in catalogue.integrations]
    if name not in names:
        raise ServiceError(
            f"Unknown integration: {name}. Available integrations: {', '.join(names)}"
        )


async def _find_integration(settings: Settings) -> None:
    scanner = Scanner(
        read_cell=lambda _space, _cell: None,
        read_charm=lambda _ref: None,
        clock=SystemClock(),
        integrations_dir=settings.integrations_dir,
    )
    try:
        await check_integration(scanner, settings.integration)
    finally:
        await scanner.stop()
