"""The promises of settings, quantities and options: what is read, refused and shown."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.cli.setting_options import click_options
from bg_charm_service.daemon import operator_identity as operator_identity_module
from bg_charm_service.daemon import settings as settings_module
from bg_charm_service.daemon.operator_identity import operator_identity
from bg_charm_service.daemon.service_config import service_config
from bg_charm_service.daemon.settings import SETTINGS, Settings, load_settings
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.quantities import database_url, lease, size, size_text
from bg_charm_service.domain.sandbox_mode import Isolation, SandboxMode
from bg_charm_service.service.bootstrap import ServiceConfig
from bg_charm_service.supervisor.fair_share import Caps
from bg_charm_service.workers.pool.contract import PoolLimits

DEFAULT_DID = "did:key:z6MksHnZGdHxNoCqcC3kPvBSo2goCzLSWheQ8LrVpAtQwgwW"


def run(*arguments: str, environ: dict[str, str] | None = None) -> tuple[Result, Settings | None]:
    """Parse arguments the way the command line does."""
    loaded: list[Settings] = []

    @click.command(params=list(click_options(lambda: ["gmail", "gcal"])))
    def command(**flags: object) -> None:
        loaded.append(load_settings(flags, environ or {}))

    result = CliRunner().invoke(command, list(arguments))
    return result, loaded[0] if loaded else None


def from_flags(*arguments: str, environ: dict[str, str] | None = None) -> Settings:
    """Give the settings of arguments that must be valid."""
    result, settings = run(*arguments, environ=environ)
    assert settings is not None, result.output
    return settings


ORIGINAL_USAGE = """\
  --charms=<space/charm>,* Comma-separated list of space/charm IDs
  --interval=<seconds> Update interval in seconds (default: 60)
  --failures=<number> Disable after N consecutive failures (default: 5)
  --log-interval=<seconds> Log status interval in seconds (default: 300)
  --integration=<name> Integration to run (default: gmail)
  Available: gmail, gcal
  --initialize Initialize integration cell
  --max-concurrent=<number> Max concurrent jobs (default: 5)
  --max-retries=<number> Max retry attempts for failed jobs (default: 3)
"""


def test_help_begins_like_the_original() -> None:
    """Help lists the original's options first, in its order and words."""
    result, _ = run("--help")
    words = " ".join(result.output.partition("Options:")[2].split())
    assert words.startswith(" ".join(ORIGINAL_USAGE.split()))


def test_integrations_are_asked_for_only_when_help_is_shown() -> None:
    """Parsing options does not look for integrations."""

    def broken() -> list[str]:
        raise AssertionError("asked")

    command = click.Command("c", params=list(click_options(broken)), callback=lambda **_: None)
    assert CliRunner().invoke(command, ["--interval=5"]).exit_code == 0


def test_defaults_are_the_documented_ones() -> None:
    """Without flags and environment every setting has its documented default."""
    settings = load_settings({}, {})
    assert settings == Settings()
    assert (60, 5, 300, "gmail", 5, 3, 30) == (
        settings.interval_seconds,
        settings.failures,
        settings.log_interval_seconds,
        settings.integration,
        settings.max_concurrent,
        settings.max_retries,
        settings.timeout_seconds,
    )
    assert (30, 86400, 100, 86400, 1) == (
        settings.drain_timeout_seconds,
        settings.disabled_retry_seconds,
        settings.history_runs,
        settings.history_seconds,
        settings.kill_grace_seconds,
    )
    assert 512 * 1024 * 1024 == settings.worker_memory_bytes


def test_the_data_directory_is_found_from_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a checkout the default data directory is its .cache, whatever the working directory."""
    monkeypatch.chdir(tmp_path)
    assert Path(__file__).resolve().parents[2] / ".cache" == load_settings({}, {}).data_dir


def test_a_unit_of_systemd_has_its_own_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default is what systemd names for a unit, else the state directory of the user."""
    monkeypatch.setattr(settings_module, "PACKAGE_FOLDER", tmp_path / "site-packages" / "package")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert tmp_path / "bg-charm-service" == load_settings({}, {}).data_dir
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/bg-charm-service:/var/lib/more")
    assert Path("/var/lib/bg-charm-service") == load_settings({}, {}).data_dir


@pytest.mark.parametrize(
    "text", ["0", "-1", "abc", "1e3", "nan", "inf", "", " 5", "5_0", "\u0665", "+5"]
)
def test_a_bad_interval_is_a_usage_error(text: str) -> None:
    """Anything but a plain number above 0 ends with exit 2 and names flag and value."""
    result, _ = run(f"--interval={text}")
    assert 2 == result.exit_code
    assert f"'--interval': {text!r}: expected a number of seconds above 0" in result.output


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("failures", "0"),
        ("failures", "2.5"),
        ("max-concurrent", "0"),
        ("max-retries", "-1"),
        ("log-interval", "9" * 30),
        ("worker-memory", "1T"),
        ("worker-memory", "512"),
        ("log-format", "xml"),
        ("integration", ""),
        ("data-dir", ""),
        ("sandbox", "on"),
        ("sandbox", "REQUIRE"),
        ("isolation", "charm"),
        ("cpu-limit", "0"),
        ("open-files", "8"),
        ("threads", "0"),
        ("state-size", "16Mb"),
        ("state-size", "1G"),
        ("scratch-size", "1K"),
        ("worker-memory", "9" * 18 + "G"),
        ("max-per-space", "-1"),
        ("max-connections", "0"),
        ("max-per-peer", "many"),
        ("max-per-integration", "all"),
        ("charm-network", ""),
        ("charm-network", "0"),
        ("charm-network", "65536"),
        ("charm-network", "443,"),
        ("charm-network", "443,deny"),
        ("charm-network", "https"),
    ],
)
def test_a_value_out_of_range_is_a_usage_error(flag: str, text: str) -> None:
    """Each kind of setting refuses what it cannot mean, naming flag and value."""
    result, _ = run(f"--{flag}={text}")
    assert 2 == result.exit_code
    assert f"'--{flag}': '{text}': expected" in result.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deny", ()),
        ("443", (53, 443)),
        ("5432, 443,443", (53, 443, 5432)),
        ("53", (53,)),
    ],
)
def test_a_list_of_ports_has_names_in_it(text: str, expected: tuple[int, ...]) -> None:
    """Ports are sorted, each once, and 53 is among them unless the network is denied."""
    assert expected == from_flags(f"--charm-network={text}").charm_network


def test_limits_of_settings_and_limits_of_runs_agree() -> None:
    """What one run may use by default is said twice: in the flags, and where runs are limited."""
    config = service_config(Settings(), Identity.from_passphrase("mine"), is_polling=True)

    assert ServiceConfig(config.data_dir, config.identity, is_polling=True).limits == config.limits
    assert PoolLimits() == config.pool


def test_flags_reach_what_they_are_about() -> None:
    """Each flag about walls and limits ends up in the service's configuration."""
    settings = from_flags(
        "--sandbox=off",
        "--isolation=run",
        "--charm-network=deny",
        "--timeout=9",
        "--cpu-limit=1.5",
        "--worker-memory=64M",
        "--open-files=40",
        "--threads=3",
        "--processors=2",
        "--run-log=2K",
        "--state-size=3K",
        "--scratch-size=4K",
        "--max-per-space=5",
        "--max-per-integration=6",
    )
    config = service_config(settings, Identity.from_passphrase("mine"), is_polling=True)

    assert SandboxMode.OFF is config.sandbox
    assert Isolation.RUN is config.pool.isolation
    assert Caps(per_space=5, per_integration=6) == config.caps
    assert config.limits == Limits(
        timeout_seconds=9,
        cpu_seconds=1.5,
        memory_bytes=64 * 2**20,
        open_files=40,
        threads=3,
        processors=2,
        log_bytes=2048,
        state_bytes=3072,
        scratch_bytes=4096,
        ports=(),
    )


def test_a_timeout_in_milliseconds_is_refused_with_a_hint() -> None:
    """The later original's --timeout took milliseconds: such a value says what to write."""
    result, _ = run("--timeout=600000")
    assert 2 == result.exit_code
    assert "were milliseconds meant? Then write 600" in result.output
    assert 9999 == from_flags("--timeout=9999").timeout_seconds


def test_flags_win_over_environment() -> None:
    """A flag is taken before a variable, which is then not even read."""
    assert 7 == from_flags("--interval=7", environ={"CYCLE_INTERVAL_MS": "x"}).interval_seconds
    assert 1.5 == from_flags(environ={"CYCLE_INTERVAL_MS": "1500"}).interval_seconds


def test_zero_retries_win_over_the_environment() -> None:
    """A flag whose value is 0 counts as given."""
    assert 0 == from_flags("--max-retries=0", environ={"MAX_RETRIES": "9"}).max_retries


def test_boolean_flags_are_off_until_given() -> None:
    """Flags without a value turn something on."""
    off, on = from_flags(), from_flags("--initialize", "--demo")
    assert (False, False, True, True) == (off.initialize, off.demo, on.initialize, on.demo)


def test_every_variable_of_the_original_is_read() -> None:
    """Each environment variable sets its field, in the unit that its name says."""
    settings = load_settings(
        {},
        {
            "KV_STORE_DIR": "/data",
            "MAX_CONCURRENT_JOBS": "6",
            "MAX_RETRIES": "0",
            "POLLING_INTERVAL_MS": "200",
            "CYCLE_INTERVAL_MS": "30000",
            "LOG_INTERVAL_MS": "10000",
            "MAX_CONSECUTIVE_FAILURES": "9",
            "CHARM_EXECUTION_TIMEOUT_MS": "600000",
            "TOKEN_REFRESH_TIMEOUT_MS": "5000",
            "SCAN_INTEGRATION_TIMEOUT_MS": "15000",
            "MAINTENANCE_JOB_TIMEOUT_MS": "45000",
            "API_URL": "https://example.org/",
            "IDENTITY": "/key.pem",
            "ENV": "staging",
        },
    )
    expected = Settings(
        data_dir=Path("/data"),
        max_concurrent=6,
        max_retries=0,
        polling_interval_seconds=0.2,
        interval_seconds=30.0,
        log_interval_seconds=10.0,
        failures=9,
        timeout_seconds=600.0,
        token_refresh_timeout_seconds=5.0,
        scan_timeout_seconds=15.0,
        maintenance_timeout_seconds=45.0,
        api_url="https://example.org",
        identity_file=Path("/key.pem"),
        environment="staging",
    )
    assert expected == settings


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CYCLE_INTERVAL_MS", "0"),
        ("CYCLE_INTERVAL_MS", "nan"),
        ("MAX_RETRIES", "many"),
        ("API_URL", "localhost:8000"),
        ("API_URL", "http://host:99999"),
        ("TOOLSHED_API_URL", "http://"),
    ],
)
def test_a_bad_variable_is_named(variable: str, text: str) -> None:
    """A variable that cannot be read is invalid input naming the variable and its value."""
    with pytest.raises(InvalidInput, match=rf"^{variable}='{text}': expected "):
        load_settings({}, {variable: text})


def test_an_empty_variable_counts_as_not_set() -> None:
    """Empty variables, as compose files leave them, change nothing."""
    empty = {variable.name: "" for setting in SETTINGS for variable in setting.variables}
    assert Settings() == load_settings({}, empty)


def test_the_old_name_of_the_api_url_is_second() -> None:
    """TOOLSHED_API_URL is read, and API_URL wins over it."""
    old = {"TOOLSHED_API_URL": "http://old:1"}
    assert "http://old:1" == load_settings({}, old).api_url
    assert "http://new:2" == load_settings({}, old | {"API_URL": "http://new:2"}).api_url


def test_texts_given_to_load_settings_are_read_strictly() -> None:
    """Flags that were not parsed yet are held to the same rules, as InvalidInput."""
    with pytest.raises(InvalidInput, match=r"^--interval='0': expected"):
        load_settings({"interval_seconds": "0"}, {})


def test_a_relative_path_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative directory is taken from the working directory of that moment, ~ from home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert tmp_path / "data" == from_flags("--data-dir=data").data_dir
    assert Path("/home/somebody/data") == from_flags("--data-dir=~/data").data_dir


@given(st.integers(1, 10**18 - 1))
def test_sizes_are_read_back_as_written(value: int) -> None:
    """A size written for help is read as the same size."""
    assert value == size("1")(size_text(value))


@pytest.mark.parametrize(("text", "value"), [("512M", 2**29), ("1g", 2**30), ("2048k", 2**21)])
def test_sizes_take_binary_suffixes(text: str, value: int) -> None:
    """K, M and G are powers of 1024, in either case."""
    assert value == size("1K")(text)


def test_the_default_identity_is_implicit_trust() -> None:
    """Without IDENTITY and OPERATOR_PASS the operator is the public default."""
    assert DEFAULT_DID == operator_identity(Settings(), {"OPERATOR_PASS": ""}).did()


def test_identity_wins_over_the_passphrase(tmp_path: Path) -> None:
    """IDENTITY wins over OPERATOR_PASS, which wins over the default."""
    key = Identity.from_passphrase("a file's")
    file = tmp_path / "key.pem"
    file.write_bytes(key.to_pem())
    environ = {"IDENTITY": str(file), "OPERATOR_PASS": "mine"}
    assert key == operator_identity(load_settings({}, environ), environ)
    assert Identity.from_passphrase("mine") == operator_identity(Settings(), environ)


@pytest.mark.parametrize("content", [None, b"no key", b"x" * 100_000])
def test_an_unusable_identity_file_is_one_clear_error(
    tmp_path: Path, content: bytes | None
) -> None:
    """A missing, foreign or huge identity file is one line naming IDENTITY and the path."""
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput, match=rf"^IDENTITY='{file}': ") as caught:
        operator_identity(Settings(identity_file=file), {"OPERATOR_PASS": "mine"})
    assert "\n" not in str(caught.value)


def test_a_passphrase_that_is_not_text_is_named_but_not_shown() -> None:
    """A passphrase that is not UTF-8 is refused without printing it."""
    with pytest.raises(InvalidInput, match=r"^OPERATOR_PASS: ") as caught:
        operator_identity(Settings(), {"OPERATOR_PASS": os.fsdecode(b"secret\xff")})
    assert "secret" not in str(caught.value)


def test_settings_never_hold_the_passphrase() -> None:
    """The settings may be logged: the passphrase is not among them."""
    assert "hush" not in repr(load_settings({}, {"OPERATOR_PASS": "hush"}))


def test_a_key_is_taken_from_the_credential_that_systemd_hands_over(tmp_path: Path) -> None:
    """IDENTITY wins over it, it wins over a passphrase, and without one the passphrase counts."""
    handed_over, named = Identity.generate(), Identity.generate()
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "OPERATOR_PASS": "mine"}
    assert Identity.from_passphrase("mine") == operator_identity(Settings(), environ)
    (tmp_path / "operator.pem").write_bytes(handed_over.to_pem())
    assert handed_over == operator_identity(Settings(), environ)
    (tmp_path / "named.pem").write_bytes(named.to_pem())
    settings = Settings(identity_file=tmp_path / "named.pem")
    assert named == operator_identity(settings, environ)


def test_the_key_of_the_installed_service_is_for_its_directory_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's commands act on that directory with the key that its unit is given."""
    key, installed = Identity.generate(), tmp_path / "installed"
    (tmp_path / "key.pem").write_bytes(key.to_pem())
    (tmp_path / "link").symlink_to(installed)
    monkeypatch.setattr(operator_identity_module, "INSTALLED_KEY", tmp_path / "key.pem")
    monkeypatch.setattr(operator_identity_module, "INSTALLED_DATA_DIR", tmp_path / "link")
    assert key == operator_identity(Settings(data_dir=installed), {"OPERATOR_PASS": "mine"})
    other = operator_identity(Settings(data_dir=tmp_path), {"OPERATOR_PASS": "mine"})
    assert Identity.from_passphrase("mine") == other


#: An address with a password in it, in each place where one can stand.
SECRET_ADDRESSES = [
    "postgresql://me:hush-hush@host/charms",
    "postgresql://host/charms?user=me&password=hush-hush",
]


@pytest.mark.parametrize("address", SECRET_ADDRESSES)
def test_the_address_of_a_database_has_its_password_in_the_environment_only(address: str) -> None:
    """A flag with a password is refused, and not repeated; DATABASE_URL may hold it."""
    result, _ = run(f"--database={address}")
    assert "--database-password=@FILE" in result.output
    assert "hush" not in result.output
    _, settings = run(environ={"DATABASE_URL": address})
    assert settings is not None
    assert address == settings.database


def test_a_password_is_in_a_file() -> None:
    """What is given with --database-password is a file, and a password is not repeated."""
    _, settings = run("--database=postgresql://host/charms", "--database-password=@/run/secret")
    assert settings is not None
    assert Path("/run/secret") == settings.database_password_file
    result, _ = run("--database-password=hush-hush")
    assert "--database-password=@FILE" in result.output
    assert "hush" not in result.output


@pytest.mark.parametrize(
    "text", ["mysql://host/charms", "host/charms", "postgresql://host", "postgresql://[/x", ""]
)
def test_an_address_of_another_kind_is_no_database(text: str) -> None:
    """Only an address of PostgreSQL that names a database is one."""
    with pytest.raises(ValueError, match="postgresql://"):
        database_url(text)


@pytest.mark.parametrize("text", ["0", "0.5", "3601", "long"])
def test_a_lease_is_a_second_to_an_hour(text: str) -> None:
    """A lease that would be lost by chance, or is never lost, is refused."""
    with pytest.raises(ValueError, match="expected"):
        lease(text)
