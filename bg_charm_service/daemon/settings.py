"""Every setting of the service in one table: flag, variable, default, reading and help together.

Flags win over the environment, the environment over the configuration file, that over the default.
An empty variable counts as not set. The command line takes its options from here and hands back
what it was given; config_file reads the file, by the same rows.
"""

# ruff: noqa: RUF009 -- each default is a row of the table, made by setting on purpose
from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import platformdirs

from bg_charm_service.api.connections import MOST_CONNECTIONS, MOST_OF_A_PEER
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.limits import DEFAULT_PROCESSORS, limit_reader
from bg_charm_service.domain.package_folder import PACKAGE_FOLDER
from bg_charm_service.domain.packages.lock import PYPI
from bg_charm_service.domain.quantities import (
    address,
    choice,
    command,
    count,
    database_url,
    database_url_of_environment,
    lease,
    milliseconds,
    name,
    names,
    one_of,
    origins,
    package_index,
    package_links,
    path,
    seconds,
    size,
    truth,
    url,
)
from bg_charm_service.domain.redaction import mask_address
from bg_charm_service.domain.sandbox_mode import Isolation, SandboxMode
from bg_charm_service.domain.text_limits import QUOTED_SETTING_CHARACTERS, cut


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
    #: Shown to nobody.
    is_secret: bool = False
    #: Whether the configuration file may have it, under its name.
    in_file: bool = True
    #: Whether what is refused is repeated: not where it may be a secret in the wrong place.
    is_quoted: bool = True
    #: The type of its value, as the field of the settings has it.
    annotation: str = ""

    @property
    def flag(self) -> str:
        return self.usage.partition("=")[0]

    @property
    def takes_value(self) -> bool:
        return "=" in self.usage

    def shown(self, value: object) -> object:
        """Give a value as it may be shown: of an address without its name and password."""
        return mask_address(value) if isinstance(value, str) else value

    def from_flag(self, text: str) -> object:
        """Read what was given with the flag; raises InvalidInput."""
        return self._read(self.read, text, self.flag)

    def from_environment(self, environ: Mapping[str, str]) -> object:
        """Read the first of its variables that is set, None without one; raises InvalidInput."""
        variable = self.variable_of(environ)
        if variable is None:
            return None
        return self._read(variable.read, environ[variable.name], variable.name)

    def _read(self, read: Callable[[str], object], text: str, source: str) -> object:
        try:
            return read(text)
        except ValueError as error:
            given = quoted(text) if self.is_quoted else "..."
            raise InvalidInput(f"{source}={given}: {error}") from None

    def variable_of(self, environ: Mapping[str, str]) -> Variable | None:
        """Give the first of its variables that is set."""
        return next((each for each in self.variables if environ.get(each.name)), None)


class SourceKind(StrEnum):
    """Where a value comes from; the first of these that has one wins."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Given:
    """A value that somebody gave, and where: `name` is the flag, the variable, or the key."""

    value: object
    kind: SourceKind
    name: str


def setting(
    default: object,
    read: Callable[[str], object],
    usage: str = "",
    help: str = "",
    env: tuple[Variable, ...] = (),
    shown: str | None = None,
    *,
    is_secret: bool = False,
    in_file: bool = True,
    is_quoted: bool = True,
) -> Any:
    """Make a field of the settings, which is a row of the table; a secret is not shown."""
    if shown is None:
        shown = f"{default:g}" if isinstance(default, float) else str(default or "")
    row = Setting(
        "",
        read,
        usage,
        env,
        shown,
        help,
        is_secret=is_secret,
        in_file=in_file,
        is_quoted=is_quoted,
    )
    if callable(default):
        return dataclasses.field(
            default_factory=default, metadata={"setting": row}, repr=not is_secret
        )
    return dataclasses.field(default=default, metadata={"setting": row}, repr=not is_secret)


def _yes(text: str) -> bool:
    return True


def written(default: str, read: Callable[[str], object], usage: str, help: str) -> Any:
    """Make a field of the settings whose default is given the way a person writes it."""
    return setting(read(default), read, usage, help, shown=default)


def switch(
    usage: str = "", help: str = "", env: tuple[Variable, ...] = (), *, in_file: bool = True
) -> Any:
    """Make a field of the settings that is on when it is given."""
    return setting(default=False, read=_yes, usage=usage, help=help, env=env, in_file=in_file)


def ms(variable: str) -> tuple[Variable, ...]:
    """Give the variable of a setting in seconds that is written in milliseconds."""
    return (Variable(variable, milliseconds),)


def _targets_file(text: str) -> Path:
    """Read where a file of addresses lies; the @ says that it is a file, and no address."""
    if "://" in text:
        raise ValueError(
            "addresses are secrets, and a command line can be read by others: write them into a "
            "file, one a line, and give --notify=@FILE"
        )
    return path(text.removeprefix("@"))


def _password_file(text: str) -> Path:
    """Read where a password lies; the @ says that it is a file, and not the password."""
    # In the configuration file, where no @ is needed, it is a full path by now.
    if not text.startswith(("@", "/")):
        raise ValueError(
            "a command line can be read by others: write the password into a file, and give "
            "--database-password=@FILE"
        )
    return path(text.removeprefix("@"))


def _secret_address(text: str) -> str:
    """Read an address that is not to be shown, or the file that it is in; used elsewhere."""
    if not text.startswith(("http://", "https://", "@")) or not text.isprintable():
        raise ValueError("expected an http or https address, or @FILE")
    return text


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def quoted(text: str) -> str:
    """Show what somebody wrote on one line, shortened, without the password of an address."""
    return repr(cut(mask_address(text), QUOTED_SETTING_CHARACTERS, mark="..."))


def default_data_dir() -> Path:
    """Give `.cache` of the checkout that this package lies in, else the user's state directory.

    A unit of systemd has a state directory of its own, which systemd names.
    """
    above_package = PACKAGE_FOLDER.resolve().parent
    if (above_package / "setup.cfg").is_file():
        return above_package / ".cache"
    of_the_unit = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if of_the_unit:
        return Path(of_the_unit)
    return Path(platformdirs.user_state_dir("bg-charm-service", appauthor=False))


#: The configuration of the service that is installed on this machine.
SYSTEM_CONFIG_FILE = Path("/etc/bg-charm-service/config.toml")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service was told; the order of the fields is the order of `--help`."""

    charms: tuple[str, ...] = setting(
        default=(),
        read=names,
        usage="--charms=<space/charm>,*",
        help="Comma-separated list of space/charm IDs",
    )
    interval_seconds: float = setting(
        60.0,
        seconds,
        "--interval=<seconds>",
        "Update interval in seconds",
        ms("CYCLE_INTERVAL_MS"),
    )
    failures: int = setting(
        5,
        count(1),
        "--failures=<number>",
        "Disable after N consecutive failures",
        (Variable("MAX_CONSECUTIVE_FAILURES", count(1)),),
    )
    log_interval_seconds: float = setting(
        300.0,
        seconds,
        "--log-interval=<seconds>",
        "Log status interval in seconds",
        ms("LOG_INTERVAL_MS"),
    )
    integration: str = setting("gmail", name, "--integration=<name>", "Integration to run")
    initialize: bool = switch("--initialize", "Initialize integration cell", in_file=False)
    max_concurrent: int = setting(
        5,
        count(1, 10_000),
        "--max-concurrent=<number>",
        "Max concurrent jobs",
        (Variable("MAX_CONCURRENT_JOBS", count(1, 10_000)),),
    )
    max_retries: int = setting(
        3,
        count(0),
        "--max-retries=<number>",
        "Max retry attempts for failed jobs",
        (Variable("MAX_RETRIES", count(0)),),
    )
    timeout_seconds: float = setting(
        30.0,
        limit_reader("timeout"),
        "--timeout=<seconds>",
        "Limit for one run in seconds",
        ms("CHARM_EXECUTION_TIMEOUT_MS"),
    )
    config_file: Path | None = setting(
        None,
        path,
        "--config=<file>",
        "The configuration file; no other is read, and /dev/null stands for none",
        (Variable("BG_CHARM_CONFIG", path),),
        shown=f"config.toml of the user's, else {SYSTEM_CONFIG_FILE}",
        in_file=False,
    )
    data_dir: Path = setting(
        default_data_dir,
        path,
        "--data-dir=<dir>",
        "Where everything is kept",
        (Variable("KV_STORE_DIR", path),),
        shown=".cache in a checkout, else the user's state directory",
    )
    database: str | None = setting(
        None,
        database_url,
        "--database=<url>",
        "A PostgreSQL database that nodes share, instead of one in the data directory",
        (Variable("DATABASE_URL", database_url_of_environment),),
        is_quoted=False,
    )
    database_password_file: Path | None = setting(
        None,
        _password_file,
        "--database-password=<@file>",
        "The file with the password of --database",
        is_quoted=False,
    )
    lease_seconds: float = setting(
        5.0,
        lease,
        "--lease=<seconds>",
        "How long the active node may be silent before another one takes over",
    )
    listen: str | None = setting(
        None, address, "--listen=<host:port>", "Where page and API listen, if not at API_URL"
    )
    no_api: bool = switch("--no-api", "Listen on no port")
    allow_origin: tuple[str, ...] = setting(
        default=(),
        read=origins,
        usage="--allow-origin=<origin>,*",
        help="Pages elsewhere that may use the API, with a token",
    )
    max_connections: int = setting(
        MOST_CONNECTIONS,
        count(1, 100_000),
        "--max-connections=<number>",
        "Most connections to the port at a time",
    )
    max_per_peer: int = setting(
        MOST_OF_A_PEER,
        count(1, 100_000),
        "--max-per-peer=<number>",
        "Most connections of one peer: a user of this machine, or an address elsewhere",
    )
    hook_listen: str | None = setting(
        None,
        address,
        "--hook-listen=<host:port>",
        "Where senders outside reach the hooks of charms, and nothing else; nowhere by default",
    )
    hook_url: str | None = setting(
        None,
        url,
        "--hook-url=<url>",
        "What senders call the hooks' listener, such as the address of a tunnel",
    )
    service_url: str | None = setting(
        None,
        url,
        "--url=<url>",
        "The service that commands go to, if not this machine's",
        (Variable("BG_CHARM_URL", url),),
    )
    service_token: str | None = setting(
        None,
        name,
        "--token=<token>",
        "Token for --url",
        (Variable("BG_CHARM_TOKEN", name),),
        is_secret=True,
    )
    demo: bool = switch("--demo", "Add the counter charm in space demo if nothing is there yet")
    integrations_dir: Path | None = setting(
        None, path, "--integrations-dir=<dir>", "Directory with integrations of your own"
    )
    drain_timeout_seconds: float = setting(
        30.0, seconds, "--drain-timeout=<seconds>", "How long a stop waits for running jobs"
    )
    kill_grace_seconds: float = setting(
        1.0, seconds, "--kill-grace=<seconds>", "From cancelling a run to killing it"
    )
    disabled_retry_seconds: float = setting(
        86400.0,
        seconds,
        "--disabled-retry=<seconds>",
        "When a charm disabled by failures comes back",
    )
    sandbox: SandboxMode = setting(
        SandboxMode.AUTO,
        choice(SandboxMode),
        "--sandbox=<mode>",
        "Walls around charms: require, auto (what this machine has) or off",
    )
    isolation: Isolation = setting(
        Isolation.SPACE,
        choice(Isolation),
        "--isolation=<level>",
        "What a worker process is shared by: space, shared (all) or run (nothing)",
    )
    min_interval_seconds: float = setting(
        10.0,
        seconds,
        "--min-interval=<seconds>",
        "The shortest interval that a charm's class may ask for",
    )
    charm_network: tuple[int, ...] = written(
        "53,80,443",
        limit_reader("network"),
        "--charm-network=<ports>",
        "TCP ports that charms may connect to, or deny",
    )
    worker_memory_bytes: int = written(
        "512M",
        limit_reader("memory"),
        "--worker-memory=<size>",
        "Memory one worker may use",
    )
    cpu_seconds: float = setting(
        20.0, limit_reader("cpu"), "--cpu-limit=<seconds>", "Processor time that one run may use"
    )
    open_files: int = setting(
        128,
        limit_reader("files"),
        "--open-files=<number>",
        "Files and connections one run may open",
    )
    threads: int = setting(
        64, limit_reader("threads"), "--threads=<number>", "Threads one run may have"
    )
    processors: int = setting(
        DEFAULT_PROCESSORS,
        limit_reader("processors"),
        "--processors=<number>",
        "Processors one run may use, where its class asks for more than one",
    )
    state_bytes: int = written(
        "16M",
        limit_reader("state"),
        "--state-size=<size>",
        "Largest state of a charm",
    )
    items_bytes: int = written(
        "256M",
        size("1M", "1024G"),
        "--items-size=<size>",
        "Most that the collections of a charm take, in all",
    )
    items_total_bytes: int = written(
        "4G",
        size("1M", "1024G"),
        "--items-total=<size>",
        "Most that the collections of all charms take together",
    )
    scratch_bytes: int = written(
        "64M",
        limit_reader("scratch"),
        "--scratch-size=<size>",
        "Files one run may keep in its scratch directory",
    )
    package_index: str = setting(
        PYPI,
        package_index,
        "--package-index=<url>",
        "Where packages of charms come from: an index, or none",
    )
    package_links: str = setting(
        "",
        package_links,
        "--package-links=<dir|url>",
        "A folder of packages, or a page that links to them, beside the index",
    )
    package_allow: tuple[str, ...] = setting(
        default=(),
        read=names,
        usage="--package-allow=<name>,*",
        help="Packages that sources of tokens and of owners of spaces may name",
    )
    package_builds: bool = switch(
        "--package-builds", "Build packages that have no wheel: their code runs here then"
    )
    package_bytes: int = written(
        "1G", size("1M", "1024G"), "--package-size=<size>", "Most that the packages of a lock take"
    )
    package_quota_bytes: int = written(
        "4G",
        size("1M", "1024G"),
        "--package-quota=<size>",
        "Most that the packages of a space take, in all",
    )
    package_timeout_seconds: float = setting(
        600.0, seconds, "--package-timeout=<seconds>", "Limit for finding or fetching packages"
    )
    max_per_space: int = written(
        "0",
        count(0, 10_000),
        "--max-per-space=<number>",
        "Most runs of one space at a time, 0 for no cap",
    )
    max_per_integration: int = written(
        "0",
        count(0, 10_000),
        "--max-per-integration=<number>",
        "Most runs of one integration at a time, 0 for no cap",
    )
    worker_max_runs: int = setting(
        1000, count(1), "--worker-max-runs=<number>", "Replace a worker after N runs"
    )
    worker_max_age_seconds: float = setting(
        3600.0, seconds, "--worker-max-age=<seconds>", "Replace a worker of this age"
    )
    history_runs: int = setting(
        100, count(1), "--history-runs=<number>", "Keep the newest N runs of a charm"
    )
    history_seconds: float = setting(
        86400.0, seconds, "--history=<seconds>", "Keep no run that is older"
    )
    history_jobs: int = setting(
        1000, count(1), "--history-jobs=<number>", "Keep the newest N finished jobs"
    )
    backup_every_seconds: float | None = setting(
        None, seconds, "--backup-every=<seconds>", "Make a backup so often"
    )
    backup_keep: int = setting(
        7, count(1), "--backup-keep=<number>", "Keep the newest N backups in --backup-dir"
    )
    backup_dir: Path | None = setting(
        None,
        path,
        "--backup-dir=<dir>",
        "Where backups go, if not to backups in the data directory",
    )
    backup_hook: tuple[str, ...] = setting(
        default=(),
        read=command,
        usage="--backup-hook=<command>",
        help="Run this after each verified backup, with the file as its last argument",
    )
    notify_file: Path | None = setting(
        None,
        _targets_file,
        "--notify=<@file>",
        "Who is told when something goes wrong: a file with an address of Apprise's a line",
        is_quoted=False,
    )
    notify_local: bool = switch(
        "--notify-local", "Notices and heartbeat may go to addresses of this machine"
    )
    heartbeat: str | None = setting(
        None,
        _secret_address,
        "--heartbeat=<url|@file>",
        "Ask this address each minute while the service is healthy, or the one in a file",
        (Variable("HEARTBEAT_URL", _secret_address),),
        is_secret=True,
        is_quoted=False,
    )
    run_log_bytes: int = written(
        "64K", limit_reader("log"), "--run-log=<size>", "Keep so much output of a run"
    )
    log_format: str = setting(
        "auto",
        one_of("auto", "text", "json"),
        "--log-format=<format>",
        "auto (text on a terminal, else json), text or json",
    )
    log_file: Path | None = setting(
        None, path, "--log-file=<file>", "Log to this file too; SIGHUP reopens it"
    )
    polling_interval_seconds: float = setting(
        0.1,
        seconds,
        help="How often running workers are looked after; the queue itself is not polled, its jobs "
        "start at once",
        env=ms("POLLING_INTERVAL_MS"),
    )
    token_refresh_timeout_seconds: float = setting(
        10.0,
        seconds,
        help="How long a provider may take to renew a token, or to sign somebody in",
        env=ms("TOKEN_REFRESH_TIMEOUT_MS"),
    )
    notify_urls: tuple[str, ...] = setting(
        default=(),
        read=_addresses,
        help="Who is told besides those of --notify: addresses of Apprise's, with spaces between",
        env=(Variable("NOTIFY_URLS", _addresses),),
        is_secret=True,
        in_file=False,
    )
    notify_gather_seconds: float = setting(
        10.0,
        seconds,
        help="How long what happens is gathered, to be told in one notice; also the first delay "
        "after which one that was not taken is sent again",
        env=ms("NOTIFY_GATHER_MS"),
    )
    notify_again_seconds: float = setting(
        3600.0,
        seconds,
        help="How often the same thing is told at most; also the time in which a charm may say ten",
        env=ms("NOTIFY_AGAIN_MS"),
    )
    notify_timeout_seconds: float = setting(
        30.0,
        seconds,
        help="How long sending a notice, or asking for the heartbeat, may take",
        env=ms("NOTIFY_TIMEOUT_MS"),
    )
    heartbeat_interval_seconds: float = setting(
        60.0, seconds, help="How often the heartbeat is", env=ms("HEARTBEAT_INTERVAL_MS")
    )
    scan_timeout_seconds: float = setting(
        20.0,
        seconds,
        help="Limit for one scan of an integration; the fetch inside it has 5 s",
        env=ms("SCAN_INTEGRATION_TIMEOUT_MS"),
    )
    maintenance_timeout_seconds: float = setting(
        60.0,
        seconds,
        help="Limit for one job of a cycle: scan, reset, cleanup, stats",
        env=ms("MAINTENANCE_JOB_TIMEOUT_MS"),
    )
    api_url: str = setting(
        "http://localhost:8000",
        url,
        help="Where page and API listen; beside --listen, the address that people elsewhere know",
        env=(Variable("API_URL", url), Variable("TOOLSHED_API_URL", url)),
    )
    identity_file: Path | None = setting(
        None,
        path,
        help="PKCS#8 PEM file with the operator's key; wins over OPERATOR_PASS",
        env=(Variable("IDENTITY", path),),
    )
    environment: str = setting(
        "", str, help="Added to each JSON log line as env", env=(Variable("ENV", str),)
    )
    otel_enabled: bool = setting(
        default=False,
        read=truth,
        help="true: send a span of each run to an OTLP receiver; takes the extra otel",
        env=(Variable("OTEL_ENABLED", truth),),
    )
    otel_service_name: str = setting(
        "bg-charm-service",
        str,
        help="What spans call this service",
        env=(Variable("OTEL_SERVICE_NAME", str),),
    )
    # Other programs may want other words here: it is read only where it is used.
    otel_endpoint: str = setting(
        "http://localhost:4318",
        str,
        help="Where the receiver of spans is, for OTLP over HTTP",
        env=(Variable("OTEL_EXPORTER_OTLP_ENDPOINT", str),),
    )
    no_color: bool = switch(help="Set to anything: no colours", env=(Variable("NO_COLOR", _yes),))
    fetch_timeout_seconds: float = 5.0


#: The table itself, in the order of `--help`.
SETTINGS: tuple[Setting, ...] = tuple(
    dataclasses.replace(
        field.metadata["setting"],
        name=field.name,
        annotation=str(field.type).removesuffix(" | None"),
    )
    for field in dataclasses.fields(Settings)
    if "setting" in field.metadata
)


def given_values(
    flags: Mapping[str, object], environ: Mapping[str, str], in_file: Mapping[str, object]
) -> dict[str, Given]:
    """Say for each setting that is given which value counts, and where it comes from.

    Flags are by field name, None or False for not given; `in_file` has values that were read.
    Raises InvalidInput naming the flag or variable and what was written there.
    """
    given: dict[str, Given] = {}
    for row in SETTINGS:
        value = flags.get(row.name)
        if isinstance(value, str):
            value = row.from_flag(value)
        if value is not None and value is not False:
            given[row.name] = Given(value, SourceKind.FLAG, row.flag)
            continue
        variable = row.variable_of(environ)
        if variable is not None:
            value = row.from_environment(environ)
            given[row.name] = Given(value, SourceKind.ENVIRONMENT, variable.name)
        elif row.name in in_file:
            given[row.name] = Given(in_file[row.name], SourceKind.FILE, row.name)
    return given


def load_settings(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    in_file: Mapping[str, object] | None = None,
) -> Settings:
    """Join flags, environment, what a file says, and defaults; raises InvalidInput."""
    return settings_of(given_values(flags, environ, in_file or {}))


def settings_of(given: Mapping[str, Given]) -> Settings:
    """Make the settings of their values, wherever these come from."""
    return Settings(**{name: one.value for name, one in given.items()})  # type: ignore[arg-type]
