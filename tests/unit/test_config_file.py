"""The promises of the configuration file: which one counts, what it may say, how it is refused."""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.daemon import config_file
from bg_charm_service.daemon.config_file import read_config_file, read_configuration
from bg_charm_service.daemon.config_text import config_text, default_of, toml_value
from bg_charm_service.daemon.settings import SETTINGS, Settings, SourceKind
from bg_charm_service.domain.errors import InvalidInput

EXAMPLE = Path(__file__).parents[2] / "docs" / "config.toml"

IN_FILE = [row for row in SETTINGS if row.in_file]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Give the places of the user's and the machine's file, with none in them."""
    users, machines = tmp_path / "home" / "bg-charm-service" / "config.toml", tmp_path / "etc.toml"
    users.parent.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(config_file, "SYSTEM_CONFIG_FILE", machines)
    return users, machines


def write(path: Path, text: str) -> Path:
    """Write a file that is nobody else's business."""
    path.write_text(text)
    path.chmod(0o600)
    return path


def settings_of(path: Path, text: str, **environ: str) -> Settings:
    """Read a file with this text in it."""
    return read_configuration({"config_file": write(path, text)}, environ).settings


def refusal(path: Path, text: str) -> str:
    """Give the one problem of a file, behind its name."""
    (problem,) = read_config_file(write(path, text)).problems
    name, _, reason = problem.partition(": ")
    assert str(path) == name
    return reason


def test_one_file_counts(tmp_path: Path, places: tuple[Path, Path]) -> None:
    """--config, the variable, the user's, the machine's; none is joined with another."""
    users, machines = places
    named, other = tmp_path / "named.toml", tmp_path / "other.toml"

    def found(flags: dict[str, object], environ: dict[str, str]) -> tuple[Path | None, int, int]:
        got = read_configuration(flags, environ)
        return got.file, got.settings.failures, got.settings.max_retries

    assert (None, 5, 3) == found({}, {})
    write(machines, "failures = 1\nmax_retries = 1")
    assert (machines, 1, 1) == found({}, {})
    write(users, "failures = 2")
    assert (users, 2, 3) == found({}, {})
    environ = {"BG_CHARM_CONFIG": str(write(other, "failures = 3"))}
    assert (other, 3, 3) == found({}, environ)
    assert (named, 4, 3) == found({"config_file": write(named, "failures = 4")}, environ)
    assert (Path("/dev/null"), 5, 3) == found({"config_file": Path("/dev/null")}, environ)


def test_a_flag_wins_over_a_variable_and_that_over_the_file(tmp_path: Path) -> None:
    """Each value is told with where it comes from."""
    file = write(tmp_path / "c.toml", "failures = 1\nmax_retries = 1\nmax_concurrent = 1")
    flags = {"config_file": file, "failures": 3}
    environ = {"MAX_CONSECUTIVE_FAILURES": "2", "MAX_RETRIES": "2"}
    got = read_configuration(flags, environ)
    assert (3, 2, 1) == (
        got.settings.failures,
        got.settings.max_retries,
        got.settings.max_concurrent,
    )
    assert {
        "failures": (SourceKind.FLAG, "--failures"),
        "max_retries": (SourceKind.ENVIRONMENT, "MAX_RETRIES"),
        "max_concurrent": (SourceKind.FILE, "max_concurrent"),
        "config_file": (SourceKind.FLAG, "--config"),
    } == {name: (one.kind, one.name) for name, one in got.given.items()}


def test_switches_and_zeros_of_a_file_count(tmp_path: Path) -> None:
    """What is false, 0 or empty is given all the same."""
    got = settings_of(tmp_path / "c.toml", "no_api = true\nmax_retries = 0\ncharms = []")
    assert (True, 0, ()) == (got.no_api, got.max_retries, got.charms)
    assert not settings_of(tmp_path / "c.toml", "demo = false").demo


def test_lists_are_lists(tmp_path: Path) -> None:
    """What a flag has with commas stands in brackets; a command is its words."""
    got = settings_of(
        tmp_path / "c.toml",
        'charms = ["demo/hello", "a/b/c"]\ncharm_network = [5432, 443]\n'
        'allow_origin = ["https://a.org", "http://b.org:81"]\n'
        'backup_hook = ["/bin/carry", "a b", "$HOME"]',
    )
    assert ("demo/hello", "a/b/c") == got.charms
    assert (53, 443, 5432) == got.charm_network
    assert ("https://a.org", "http://b.org:81") == got.allow_origin
    assert ("/bin/carry", "a b", "$HOME") == got.backup_hook
    for none in ("[]", '"deny"'):
        assert () == settings_of(tmp_path / "c.toml", f"charm_network = {none}").charm_network


def test_sizes_are_texts_or_bytes(tmp_path: Path) -> None:
    """A size is written as with its flag, or as a number of bytes."""
    for written in ('"64M"', str(64 * 2**20)):
        text = f"worker_memory_bytes = {written}"
        assert 64 * 2**20 == settings_of(tmp_path / "c.toml", text).worker_memory_bytes


def test_a_path_counts_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path starts where the file lies, wherever the program does; ~ is at home."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.chdir("/")
    got = settings_of(tmp_path / "c.toml", 'data_dir = "data"\nbackup_dir = "~/kept"')
    assert (tmp_path / "data", Path("/home/somebody/kept")) == (got.data_dir, got.backup_dir)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("interval = 5", "unknown key 'interval': is interval_seconds meant?"),
        ("CYCLE_INTERVAL_MS = 5", "unknown key 'CYCLE_INTERVAL_MS': is interval_seconds meant?"),
        ("worker-memory = '1G'", "unknown key 'worker-memory': is worker_memory_bytes meant?"),
        ("intervall_seconds = 5", "unknown key 'intervall_seconds': is interval_seconds meant?"),
        ("zzz = 5", "unknown key 'zzz'. The settings are listed in docs/reference.md"),
        ("[service]\nfailures = 5", "'service': there are no tables, all keys stand at the top"),
        ("initialize = true", "initialize: it is a flag or a variable, and cannot stand in a file"),
        ("config_file = 'x'", "config_file: it is a flag or a variable, and cannot stand in"),
        ("interval_seconds = '5'", "interval_seconds = '5': expected a number"),
        ("interval_seconds = true", "interval_seconds = true: expected a number"),
        ("interval_seconds = 0", "interval_seconds = 0: expected a number of seconds above 0"),
        ("interval_seconds = nan", "interval_seconds = nan: expected a number of seconds"),
        ("interval_seconds = -1e300", "interval_seconds = -1e+300: expected a number of seconds"),
        (
            "timeout_seconds = 30000",
            "timeout_seconds = 30000: expected seconds; were milliseconds meant?",
        ),
        ("failures = 2.0", "failures = 2.0: expected a whole number"),
        (f"failures = 0x{'f' * 5000}", "failures = a very large number: expected a whole number"),
        ("demo = 'yes'", "demo = 'yes': expected true or false"),
        ("sandbox = 'on'", "sandbox = 'on': expected require, auto or off"),
        ("data_dir = ''", "data_dir = '': expected a path"),
        ('data_dir = "a\\u0000b"', "data_dir = 'a\\x00b': expected a path"),
        ("charms = 'demo/hello'", "charms = 'demo/hello': expected texts in brackets"),
        ("charms = ['demo']", "charms = ['demo']: Invalid charm format: demo"),
        ("charms = ['did:key:x/y']", "charms = ['did:key:x/y']: Invalid space ID: did:key:x."),
        ("charms = ['a/b,c/d']", "charms = ['a/b,c/d']: expected texts in brackets"),
        ("charm_network = [443, 'x']", "charm_network = [443, 'x']: expected ports such as"),
        (f"charm_network = [0x{'f' * 5000}]", "charm_network = a very large number: expected"),
        ("charm_network = [true]", "charm_network = [True]: expected ports such as"),
        ("charm_network = [0]", "charm_network = [0]: expected ports from 1 to 65535"),
        ("backup_hook = '/bin/x'", "backup_hook = '/bin/x': expected a program and its arguments"),
        ("backup_hook = []", "backup_hook = []: expected a command"),
        ("worker_memory_bytes = 1.5", "worker_memory_bytes = 1.5: expected a size such as"),
        ("worker_memory_bytes = '1T'", "worker_memory_bytes = '1T': expected a size such as"),
        ("service_token = 5", "service_token = ...: expected a text in quotes"),
        ("failures = 1\nfailures = 2", "it is not TOML: Cannot overwrite a value (at "),
        ("failures", "it is not TOML: "),
        ("x = " + "[" * 5000, "it is n"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(tmp_path: Path, text: str, reason: str) -> None:
    """Unknown keys, wrong types and bad values are one line: file, key, value, what is expected."""
    told = refusal(tmp_path / "c.toml", text)
    assert told.startswith(reason)
    assert told.isprintable()
    with pytest.raises(InvalidInput, match=re.escape(told[:200])):
        settings_of(tmp_path / "c.toml", text)


def test_all_that_is_wrong_is_told_once(tmp_path: Path) -> None:
    """A start names the first problem and how many there are; the check names each."""
    file = write(tmp_path / "c.toml", "failures = 0\nnonsense = 1\nmax_retries = 1\ndemo = 1")
    assert 3 == len(read_config_file(file).problems)
    with pytest.raises(InvalidInput, match=r"failures = 0: expected .* \(and 2 more: see `"):
        read_configuration({"config_file": file}, {})


@pytest.mark.parametrize("text", ["failures = 0", "failures = '2'"])
def test_a_bad_value_is_refused_although_a_flag_wins(tmp_path: Path, text: str) -> None:
    """What a file says is right or wrong by itself, whoever wins today."""
    file = write(tmp_path / "c.toml", text)
    with pytest.raises(InvalidInput, match="failures = "):
        read_configuration({"config_file": file, "failures": 3}, {})


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    """A file of --config that cannot be read is an error, never another file."""
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InvalidInput, match=f"^{path}: cannot be read: {reason}"):
            read_configuration({"config_file": path}, {})


def test_a_file_that_is_there_and_cannot_be_read_is_an_error(places: tuple[Path, Path]) -> None:
    """The user's file counts also when it is broken: the machine's never stands in for it."""
    users, machines = places
    write(machines, "failures = 1")
    users.symlink_to("nowhere")
    with pytest.raises(InvalidInput, match=f"^{users}: cannot be read"):
        read_configuration({}, {})


def test_a_file_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    """It names programs that the service runs."""
    file = write(tmp_path / "c.toml", "failures = 2")
    file.chmod(0o646)
    (problem,) = read_config_file(file).problems
    assert "everybody may write to it" in problem
    file.chmod(0o664)
    assert () == read_config_file(file).problems


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_secret_is_for_its_owner_only(tmp_path: Path, mode: int) -> None:
    """A file with a token that others may read is refused; without one it may be read by all."""
    file = write(tmp_path / "c.toml", 'service_token = "hush"')
    assert "hush" == read_config_file(file).values["service_token"]
    file.chmod(mode)
    (problem,) = read_config_file(file).problems
    assert "it holds service_token, and others may read it: chmod 600" in problem
    assert "hush" not in problem
    write(file, "failures = 2").chmod(mode)
    assert () == read_config_file(file).problems


@as_root
def test_anothers_file_is_used_only_when_it_is_named(places: tuple[Path, Path]) -> None:
    """HOME may still be another's, with sudo or su: whose programs would be run."""
    users, _ = places
    os.chown(write(users, "failures = 2"), 12345, 12345)
    with pytest.raises(InvalidInput, match="it belongs to 12345"):
        read_configuration({}, {})
    assert 2 == read_configuration({"config_file": users}, {}).settings.failures


def test_every_setting_can_stand_in_a_file(tmp_path: Path) -> None:
    """What is written as a setting's default or example is read back as that."""
    for row in IN_FILE:
        text = "\n".join(
            line.removeprefix("#")
            for line in EXAMPLE.read_text().splitlines()
            if line.removeprefix("#").startswith(f"{row.name} = ")
        )
        (value,) = read_config_file(write(tmp_path / "c.toml", text)).values.values()
        default = default_of(row)
        if default not in (None, "", ()) and row.name != "data_dir":
            assert default == value, row.name


def test_the_example_is_what_the_program_writes() -> None:
    """docs/config.toml has every setting with its meaning, and changes nothing as it stands."""
    assert config_text({}) == EXAMPLE.read_text(), "call `make reference`"
    assert {} == tomllib.loads(EXAMPLE.read_text())
    assert max(map(len, EXAMPLE.read_text().splitlines())) <= 100
    assert "None" not in EXAMPLE.read_text(), "a setting without a default needs an example"
    for row in IN_FILE:
        assert f"\n#{row.name} = " in EXAMPLE.read_text()
        assert " ".join(row.help.split()[:3]) in " ".join(EXAMPLE.read_text().split())


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "interval_seconds": st.integers(1, 10**9).map(lambda ms: ms / 1000),
    "max_retries": st.integers(0, 10**9),
    "worker_memory_bytes": st.integers(32, 10**6).map(lambda each: each * 2**20),
    "no_api": st.booleans(),
    "environment": TEXT,
    "integration": TEXT.map(str.strip).filter(bool),
    "charm_network": st.lists(st.integers(54, 65535), unique=True, min_size=1).map(
        lambda ports: (53, *sorted(ports))
    ),
    "backup_hook": st.lists(TEXT.filter(lambda each: "\0" not in each), min_size=1).map(tuple),
    "data_dir": TEXT.filter(lambda each: "\0" not in each).map(
        lambda each: Path(os.path.abspath("/" + each.lstrip("/")))
    ),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_what_is_written_is_read_back(values: dict[str, object]) -> None:
    """`config show --toml` gives a file that means the same."""
    table = tomllib.loads(config_text(values))
    assert values.keys() == table.keys()
    rows = {row.name: row for row in IN_FILE}
    for name, value in table.items():
        assert values[name] == config_file.read_value(rows[name], value, Path("/elsewhere"))
        assert toml_value(rows[name], values[name])


def test_settings_are_in_the_file_or_said_not_to_be() -> None:
    """Each field of the settings can be set somewhere."""
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert {"config_file", "initialize", "fetch_timeout_seconds", "notify_urls"} == fields - {
        row.name for row in IN_FILE
    }
