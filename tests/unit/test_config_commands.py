"""The promises of `config show` and `config check`, and of the options before every command."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bg_charm_service.cli.root import root
from bg_charm_service.daemon.settings import SETTINGS
from bg_charm_service.domain.version import VERSION

#: The flag of each setting.
FLAGS = {row.name: row.flag for row in SETTINGS}


def run(*arguments: str, **environment: str) -> Result:
    """Run the program inside this process."""
    runner = CliRunner(env=environment)
    return runner.invoke(root, list(arguments), prog_name="bg-charm-service")


def write(path: Path, text: str) -> str:
    """Write a file for its owner only; gives the flag that names it."""
    path.write_text(text)
    path.chmod(0o600)
    return f"--config={path}"


def test_each_value_is_shown_with_where_it_comes_from(tmp_path: Path) -> None:
    """A flag, a variable, file and key, or the default; as a table, and as JSON."""
    flag = write(tmp_path / "c.toml", 'failures = 7\ncharms = ["demo/hello"]\nmax_retries = 1')
    given = (flag, "--max-concurrent=3", "config", "show")
    rows = {
        line.split()[0]: " ".join(line.split()[1:])
        for line in run(*given, CYCLE_INTERVAL_MS="1500", MAX_RETRIES="2").stdout.splitlines()
    }
    assert {
        "failures": f"7 {tmp_path}/c.toml: failures",
        "charms": f'["demo/hello"] {tmp_path}/c.toml: charms',
        "max_concurrent": "3 --max-concurrent",
        "interval_seconds": "1.5 CYCLE_INTERVAL_MS",
        "max_retries": "2 MAX_RETRIES",
        "worker_memory_bytes": '"512M" default',
        "listen": "- default",
    }.items() <= rows.items()
    answer = json.loads(run("--json", *given).stdout)
    assert f"{tmp_path}/c.toml" == answer["file"]
    shown = {one["name"]: one for one in answer["settings"]}
    assert {row.name for row in SETTINGS} - {"config_file"} == shown.keys()
    assert {
        "name": "charms",
        "value": ["demo/hello"],
        "source": "file",
        "from": f"{tmp_path}/c.toml: charms",
    } == shown["charms"]
    assert (None, "default", "") == tuple(
        shown["listen"][key] for key in ("value", "source", "from")
    )


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """The token and the passphrase are told to be there, and nothing more; also in the file."""
    flag = write(tmp_path / "c.toml", 'service_token = "hush-hush"')
    for form in ((), ("--json",), ("--toml",)):
        shown = run(flag, "config", "show", *form, OPERATOR_PASS="my passphrase")
        assert 0 == shown.exit_code
        assert "hush" not in shown.output
        assert "my passphrase" not in shown.output
    rows = run(flag, "config", "show", OPERATOR_PASS="my passphrase").stdout.splitlines()
    assert ["operator_pass", "...", "OPERATOR_PASS"] == rows[-1].split()


@pytest.mark.parametrize("key", ["package_index", "package_links", "service_url"])
def test_no_password_of_an_address_is_shown(tmp_path: Path, key: str) -> None:
    """The host is, the password is not: in no form, and not where the address is refused."""
    good = write(tmp_path / "c.toml", f'{key} = "https://user:hush-hush@example.org/simple"')
    for form in ((), ("--json",), ("--toml",)):
        shown = run(good, "config", "show", *form)
        assert 0 == shown.exit_code
        assert "https://[secret]@example.org/simple" in shown.output
        assert "hush" not in shown.output
    text = run(good, "config", "show", "--toml").stdout
    assert {} == tomllib.loads(text)
    for wrong in ("https://user:hush-'h@example.org:port", "ftp://user:hush/h@example.org"):
        file = write(tmp_path / "wrong.toml", f'{key} = "{wrong}"')
        flag = f"{FLAGS[key]}={wrong}"
        for arguments in ([file, "config", "check"], [flag, "config", "show"]):
            refused = run(*arguments)
            assert 2 == refused.exit_code
            assert "[secret]@example.org" in refused.output
            assert "hush" not in refused.output


def test_what_counts_can_be_kept_as_a_file(tmp_path: Path) -> None:
    """`config show --toml` prints a file that gives the same values."""
    text = run("--failures=7", "--data-dir=/srv/x", "config", "show", "--toml").stdout
    assert {"failures": 7, "data_dir": "/srv/x"} == tomllib.loads(text)
    again = run(write(tmp_path / "c.toml", text), "config", "show", "--toml").stdout
    assert text == again


def test_a_sound_configuration_is_said_to_be_so(tmp_path: Path) -> None:
    """Nothing is made by the check: neither the data directory nor the log."""
    write(tmp_path / "c.toml", 'data_dir = "data"\nlog_file = "log"\nno_api = true')
    done = run("config", "check", str(tmp_path / "c.toml"))
    assert (0, f"Nothing is wrong with {tmp_path}/c.toml.\n") == (done.exit_code, done.stdout)
    assert ["c.toml"] == [path.name for path in tmp_path.iterdir()]


def test_all_that_a_start_would_refuse_is_told(tmp_path: Path) -> None:
    """Keys and values, the key, the log, the host, the integration, a variable: each is a line."""
    flag = write(
        tmp_path / "c.toml",
        'failures = 0\nnonsense = 1\nintegration = "nobody"\nlog_file = "no/where/log"\n'
        'identity_file = "none.pem"\nlisten = "192.0.2.1:80"',
    )
    done = run(flag, "config", "check", MAX_RETRIES="many")
    assert (2, "") == (done.exit_code, done.stdout)
    problems = [line.removeprefix("Error: ") for line in done.stderr.splitlines()]
    for wanted in (
        f"{tmp_path}/c.toml: failures = 0: expected",
        f"{tmp_path}/c.toml: unknown key 'nonsense'",
        "MAX_RETRIES='many': expected",
        f"IDENTITY='{tmp_path}"[:60],
        f"--log-file='{tmp_path}/no/where/log': cannot be opened",
        "--listen=192.0.2.1:80: 192.0.2.1 is not of this machine",
        "Unknown integration: nobody. Available integrations: ",
    ):
        assert 1 == sum(line.startswith(wanted) for line in problems), wanted
    assert 7 == len(problems)
    assert (
        problems
        == json.loads(run(flag, "config", "check", "--json", MAX_RETRIES="many").stdout)["problems"]
    )
    refused = run(flag, MAX_RETRIES="many")
    assert 2 == refused.exit_code


def test_a_checked_file_is_the_one_that_is_named(tmp_path: Path) -> None:
    """The argument wins over --config."""
    flag = write(tmp_path / "bad.toml", "failures = 0")
    write(tmp_path / "good.toml", "failures = 1\nno_api = true")
    assert 2 == run(flag, "config", "check").exit_code
    assert 0 == run(flag, "config", "check", str(tmp_path / "good.toml")).exit_code


def test_the_version_is_printed() -> None:
    """`--version` needs no service, and no good settings."""
    done = run("--version", CYCLE_INTERVAL_MS="nonsense", BG_CHARM_CONFIG="/nowhere")
    assert (0, f"bg-charm-service {VERSION}\n") == (done.exit_code, done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json", "space", "did", "demo"),
        ("space", "--json", "did", "demo"),
        ("space", "did", "--json", "demo"),
        ("--json", "space", "did", "--json", "demo"),
    ],
)
def test_json_may_stand_anywhere(arguments: tuple[str, ...]) -> None:
    """Before the command, before its group's command, or behind it."""
    assert "demo" == json.loads(run(*arguments).stdout)["name"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--json", "charm", "enable", "demo/x"), "enable prints no JSON: leave --json out."),
        (("--json", "unregister", "demo/x"), "unregister prints no JSON"),
        (("--json",), "--json is for commands; --log-format=json makes the log JSON."),
    ],
)
def test_json_of_what_has_none_is_wrong_usage(arguments: tuple[str, ...], reason: str) -> None:
    """It is not left out in silence: a program that asked for JSON would read something else."""
    done = run(*arguments)
    assert 2 == done.exit_code
    assert f"Error: {reason}" in done.stderr
