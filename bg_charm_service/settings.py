"""Every setting of the service in one table: flag, variable, default, reading and help together.

Flags win over the environment, the environment over the default. An empty variable counts as
not set. The command line takes its options from here and hands back what it was given.
"""

# ruff: noqa: RUF009 -- each default is a row of the table, made by _setting on purpose
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from bg_charm_service.errors import InvalidInput
from bg_charm_service.quantities import (
    count,
    milliseconds,
    name,
    one_of,
    path,
    seconds,
    size,
    size_text,
    url,
)

#: A run's limit of this many seconds or more was meant in milliseconds.
SUSPECT_TIMEOUT_SECONDS = 10_000


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable that gives a setting, and how it is read: its unit may differ."""

    name: str
    read: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table; `usage` is `--flag=<value>`, `--flag`, or empty without a flag."""

    name: str
    read: Callable[[str], object]
    usage: str
    variables: tuple[Variable, ...]
    default: str
    help: str

    @property
    def flag(self) -> str:
        return self.usage.partition("=")[0]

    @property
    def takes_value(self) -> bool:
        return "=" in self.usage


def default_data_dir() -> Path:
    """Give `.cache` of the checkout that this package lies in, else the user's state directory."""
    above_package = Path(__file__).resolve().parent.parent
    if (above_package / "setup.cfg").is_file():
        return above_package / ".cache"
    return Path(platformdirs.user_state_dir("bg-charm-service", appauthor=False))


def _timeout(text: str) -> float:
    value = seconds(text)
    if value >= SUSPECT_TIMEOUT_SECONDS:
        raise ValueError(f"expected seconds; were milliseconds meant? Then write {value / 1000:g}")
    return value


def _yes(text: str) -> bool:
    return True


def _setting(
    default: object,
    read: Callable[[str], object],
    usage: str = "",
    help: str = "",
    env: tuple[Variable, ...] = (),
    shown: str | None = None,
) -> Any:
    if shown is None:
        shown = f"{default:g}" if isinstance(default, float) else str(default or "")
    row = Setting("", read, usage, env, shown, help)
    if callable(default):
        return dataclasses.field(default_factory=default, metadata={"setting": row})
    return dataclasses.field(default=default, metadata={"setting": row})


def _ms(variable: str) -> tuple[Variable, ...]:
    return (Variable(variable, milliseconds),)


def _megabytes(number: int) -> int:
    return number * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service was told; the order of the fields is the order of `--help`."""

    charms: str = _setting(
        "", str, "--charms=<space/charm>,*", "Comma-separated list of space/charm IDs"
    )
    interval_seconds: float = _setting(
        60.0,
        seconds,
        "--interval=<seconds>",
        "Update interval in seconds",
        _ms("CYCLE_INTERVAL_MS"),
    )
    failures: int = _setting(
        5,
        count(1),
        "--failures=<number>",
        "Disable after N consecutive failures",
        (Variable("MAX_CONSECUTIVE_FAILURES", count(1)),),
    )
    log_interval_seconds: float = _setting(
        300.0,
        seconds,
        "--log-interval=<seconds>",
        "Log status interval in seconds",
        _ms("LOG_INTERVAL_MS"),
    )
    integration: str = _setting("gmail", name, "--integration=<name>", "Integration to run")
    initialize: bool = _setting(False, _yes, "--initialize", "Initialize integration cell")
    max_concurrent: int = _setting(
        5,
        count(1, 10_000),
        "--max-concurrent=<number>",
        "Max concurrent jobs",
        (Variable("MAX_CONCURRENT_JOBS", count(1, 10_000)),),
    )
    max_retries: int = _setting(
        3,
        count(0),
        "--max-retries=<number>",
        "Max retry attempts for failed jobs",
        (Variable("MAX_RETRIES", count(0)),),
    )
    timeout_seconds: float = _setting(
        30.0,
        _timeout,
        "--timeout=<seconds>",
        "Limit for one run in seconds",
        _ms("CHARM_EXECUTION_TIMEOUT_MS"),
    )
    data_dir: Path = _setting(
        default_data_dir,
        path,
        "--data-dir=<dir>",
        "Where everything is kept",
        (Variable("KV_STORE_DIR", path),),
        shown=".cache in a checkout, else the user's state directory",
    )
    demo: bool = _setting(
        False, _yes, "--demo", "Add the counter charm in space demo if nothing is there yet"
    )
    integrations_dir: Path | None = _setting(
        None, path, "--integrations-dir=<dir>", "Directory with integrations of your own"
    )
    drain_timeout_seconds: float = _setting(
        30.0, seconds, "--drain-timeout=<seconds>", "How long a stop waits for running jobs"
    )
    kill_grace_seconds: float = _setting(
        1.0, seconds, "--kill-grace=<seconds>", "From cancelling a run to killing it"
    )
    disabled_retry_seconds: float = _setting(
        86400.0,
        seconds,
        "--disabled-retry=<seconds>",
        "When a charm disabled by failures comes back",
    )
    worker_memory_bytes: int = _setting(
        _megabytes(512),
        size("32M"),
        "--worker-memory=<size>",
        "Memory one worker may use",
        shown=size_text(_megabytes(512)),
    )
    worker_max_runs: int = _setting(
        1000, count(1), "--worker-max-runs=<number>", "Replace a worker after N runs"
    )
    worker_max_age_seconds: float = _setting(
        3600.0, seconds, "--worker-max-age=<seconds>", "Replace a worker of this age"
    )
    history_runs: int = _setting(
        100, count(1), "--history-runs=<number>", "Keep the newest N runs of a charm"
    )
    history_seconds: float = _setting(
        86400.0, seconds, "--history=<seconds>", "Keep no run that is older"
    )
    history_jobs: int = _setting(
        1000, count(1), "--history-jobs=<number>", "Keep the newest N finished jobs"
    )
    run_log_bytes: int = _setting(
        64 * 1024,
        size("1K"),
        "--run-log=<size>",
        "Keep so much output of a run",
        shown=size_text(64 * 1024),
    )
    log_format: str = _setting(
        "auto",
        one_of("auto", "text", "json"),
        "--log-format=<format>",
        "auto (text on a terminal, else json), text or json",
    )
    log_file: Path | None = _setting(
        None, path, "--log-file=<file>", "Log to this file too; SIGHUP reopens it"
    )
    polling_interval_seconds: float = _setting(0.1, seconds, env=_ms("POLLING_INTERVAL_MS"))
    token_refresh_timeout_seconds: float = _setting(
        10.0, seconds, env=_ms("TOKEN_REFRESH_TIMEOUT_MS")
    )
    scan_timeout_seconds: float = _setting(20.0, seconds, env=_ms("SCAN_INTEGRATION_TIMEOUT_MS"))
    maintenance_timeout_seconds: float = _setting(
        60.0, seconds, env=_ms("MAINTENANCE_JOB_TIMEOUT_MS")
    )
    api_url: str = _setting(
        "http://localhost:8000",
        url,
        env=(Variable("API_URL", url), Variable("TOOLSHED_API_URL", url)),
    )
    identity_file: Path | None = _setting(None, path, env=(Variable("IDENTITY", path),))
    environment: str = _setting("", str, env=(Variable("ENV", str),))
    no_color: bool = _setting(False, _yes, env=(Variable("NO_COLOR", _yes),))
    fetch_timeout_seconds: float = 5.0


#: The table itself, in the order of `--help`.
SETTINGS: tuple[Setting, ...] = tuple(
    dataclasses.replace(field.metadata["setting"], name=field.name)
    for field in dataclasses.fields(Settings)
    if "setting" in field.metadata
)


def load_settings(flags: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """Join flags (by field name, None or False for not given), environment and defaults.

    Raises InvalidInput naming the flag or variable and what was written there.
    """
    given: dict[str, object] = {}
    for setting in SETTINGS:
        value = flags.get(setting.name)
        if isinstance(value, str):
            value = _read(setting.read, value, f"{setting.flag}={quoted(value)}")
        if value is None or value is False:
            value = _from_environment(setting, environ)
        if value is not None:
            given[setting.name] = value
    return Settings(**given)  # type: ignore[arg-type]


def _from_environment(setting: Setting, environ: Mapping[str, str]) -> object:
    for variable in setting.variables:
        text = environ.get(variable.name, "")
        if text:
            return _read(variable.read, text, f"{variable.name}={quoted(text)}")
    return None


def _read(read: Callable[[str], object], text: str, source: str) -> object:
    try:
        return read(text)
    except ValueError as error:
        raise InvalidInput(f"{source}: {error}") from None


def quoted(text: str) -> str:
    """Show what somebody wrote on one line, shortened."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
