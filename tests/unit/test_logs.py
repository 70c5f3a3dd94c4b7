"""The promises of logs and run_log, read from what was really written."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from msgspec.structs import replace

from bg_charm_service.daemon.logs import LOGIN_LINK, open_logs
from bg_charm_service.daemon.run_log import RunLog
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.domain.errors import FailureCause, InvalidInput
from bg_charm_service.domain.model import CharmRef, Failure, Job, Origin

REF = CharmRef(
    "did:key:z6Mkfuw7h6jDwqVb6wimYGys14JFcyTem4Kqvdj9DjpFhY88",
    "baedreiejlbo3grw733nk7wp5mzjfqyzpa7hquspn4yt4np6zq3375fpavq",
)
JOB = Job(17, REF, "bgUpdater", b"{}", Origin.POLL, 8, 0.0, 2, 1, 1, 0.0)
FAILURE = Failure(FailureCause.ERROR, "ValueError: no\nluck", "Traceback: of the charm")


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def logging_to(stream: io.TextIOBase, **settings: Any) -> Iterator[None]:
    """Open logs on a stream for a while."""
    logs = open_logs(Settings(**settings), stream)  # type: ignore[arg-type]
    try:
        yield
    finally:
        logs.close()


def written(speak: Callable[[], None], **settings: Any) -> list[dict[str, Any]]:
    """Give the JSON objects that some code logs."""
    stream = io.StringIO()
    with logging_to(stream, **settings):
        speak()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_are_json_where_there_is_no_terminal() -> None:
    """Each line is one object with time, level, message, what was bound, and the ENV label."""
    [line] = written(
        lambda: logger.bind(event="x.y", job=3, duration=0.5).info("two\nlines"),
        environment="staging",
    )
    assert line.pop("time").endswith("+00:00")
    assert {
        "level": "INFO",
        "message": "two\nlines",
        "env": "staging",
        "event": "x.y",
        "job": 3,
        "duration": 0.5,
    } == line


def test_values_that_are_not_json_are_written_as_text() -> None:
    """What is bound can be anything, and cannot replace the line's own fields."""
    [line] = written(
        lambda: logger.bind(charm=REF, rate=float("nan"), level="FAKE").info("lone \ud800")
    )
    assert (str(REF), "nan", "INFO") == (line["charm"], line["rate"], line["level"])


def test_a_terminal_gets_readable_coloured_text() -> None:
    """On a terminal a line is time, level, message and a short tail, with colours."""
    stream = Terminal()
    with logging_to(stream):
        logger.bind(event="x.y", job=3).warning("careful")
    assert "\033[33mWARNING  careful\033[0m" in stream.getvalue()
    assert "job=3" in stream.getvalue()
    assert "x.y" not in stream.getvalue()


def test_no_color_is_respected() -> None:
    """NO_COLOR leaves the text and takes the colours away."""
    stream = Terminal()
    with logging_to(stream, no_color=True):
        logger.warning("careful")
    assert stream.getvalue().endswith(" WARNING  careful\n")
    assert "\033" not in stream.getvalue()


def test_text_from_a_charm_cannot_drive_the_terminal() -> None:
    """Control characters are shown, and a forged line is indented."""
    stream = Terminal()
    with logging_to(stream, no_color=True):
        logger.info("a\033[2Jb\r\n12:00:00 INFO forged <red>{}")
    first, second = stream.getvalue().splitlines()
    assert first.endswith("a\\x1b[2Jb\\r")
    assert "    12:00:00 INFO forged <red>{}" == second


@pytest.mark.parametrize(("log_format", "is_json"), [("json", True), ("text", False)])
def test_the_format_can_be_chosen(log_format: str, is_json: bool) -> None:  # noqa: FBT001
    """--log-format wins over what the stream is."""
    stream = Terminal() if is_json else io.StringIO()
    with logging_to(stream, log_format=log_format):
        logger.info("hello")
    assert is_json == stream.getvalue().startswith("{")


def test_a_stream_that_cannot_write_a_letter_shows_its_code() -> None:
    """A terminal of another encoding loses no line."""
    raw = io.BytesIO()
    with logging_to(io.TextIOWrapper(raw, encoding="ascii"), log_format="text"):
        logger.info("smile ☺")
        assert raw.getvalue().endswith(b"smile \\u263a\n")


def test_a_closed_stream_does_not_stop_the_service() -> None:
    """Lines that cannot be written are lost without an error, and the loss is told later."""

    class Pipe(io.StringIO):
        is_broken = True

        def write(self, text: str) -> int:
            if self.is_broken:
                raise BrokenPipeError
            return super().write(text)

    pipe = Pipe()
    with logging_to(pipe):
        logger.info("one")
        logger.info("two")
        pipe.is_broken = False
        logger.info("three")
    loss, line = pipe.getvalue().splitlines()
    assert "2 log lines could not be written" in loss
    assert "three" == json.loads(line)["message"]


def test_a_log_file_gets_the_lines_too(tmp_path: Path) -> None:
    """--log-file has every line as JSON beside the text of the terminal."""
    file, stream = tmp_path / "service.log", Terminal()
    file.write_text("before\n")
    with logging_to(stream, log_file=file):
        logger.info("hello")
    before, line = file.read_text().splitlines()
    assert ("before", "hello") == (before, json.loads(line)["message"])
    assert "hello" in stream.getvalue()


def test_a_log_file_is_private(tmp_path: Path) -> None:
    """A log file that we make is for its owner alone."""
    with logging_to(io.StringIO(), log_file=tmp_path / "log"):
        assert 0o600 == (tmp_path / "log").stat().st_mode & 0o777


def test_reopen_follows_a_rotation(tmp_path: Path) -> None:
    """After the file was moved away, reopen starts a new one and leaves the old one whole."""
    file = tmp_path / "service.log"
    logs = open_logs(Settings(log_file=file, log_format="text"), io.StringIO())
    logger.info("first")
    file.rename(tmp_path / "old.log")
    logger.info("second")
    logs.reopen()
    logger.info("third")
    logs.close()
    old = [line.split()[-1] for line in (tmp_path / "old.log").read_text().splitlines()]
    new = [line.split()[-1] for line in file.read_text().splitlines()]
    assert (["first", "second"], ["third"]) == (old, new)


def test_a_failed_reopen_keeps_the_old_file(tmp_path: Path) -> None:
    """When the file cannot be opened again, that is logged and nothing is lost."""
    folder = tmp_path / "logs"
    folder.mkdir()
    logs = open_logs(Settings(log_file=folder / "log"), io.StringIO())
    folder.rename(tmp_path / "moved")
    logs.reopen()
    logger.info("still here")
    logs.close()
    logs.close()
    error, line = map(json.loads, (tmp_path / "moved" / "log").read_text().splitlines())
    assert ("ERROR", "log.reopen_failed") == (error["level"], error["event"])
    assert "still here" == line["message"]


def test_a_log_file_that_cannot_be_opened_is_one_clear_error(tmp_path: Path) -> None:
    """The error names the flag, the path and the reason."""
    with pytest.raises(InvalidInput) as caught:
        open_logs(Settings(log_file=tmp_path), io.StringIO())
    assert f"--log-file='{tmp_path}': cannot be opened: Is a directory" == str(caught.value)


def test_standard_logging_arrives() -> None:
    """Libraries that use the standard library's logging appear with their logger's name."""

    def speak() -> None:
        logging.getLogger("asyncio").warning("slow %s {x}", "callback")
        logging.getLogger("uvicorn.error").info("Started server process")
        logging.getLogger("other").log(33, "odd level")

    lines = written(speak)
    assert [
        ("asyncio", "WARNING", "slow callback {x}"),
        ("other", "Level 33", "odd level"),
    ] == [(line["logger"], line["level"], line["message"]) for line in lines]


def test_exceptions_of_ours_keep_their_traceback() -> None:
    """An exception logged on purpose has its traceback, without the values of variables."""

    def speak() -> None:
        password = "hush"
        try:
            raise RuntimeError(f"broken {len(password)}")
        except RuntimeError:
            logger.exception("it broke")

    [line] = written(speak)
    assert line["exception"].endswith("RuntimeError: broken 4")
    assert "'hush'" not in line["exception"].replace('password = "hush"', "")


def test_a_success_is_the_originals_line() -> None:
    """A success reads exactly as in the original; the rest is bound to the record."""
    [line] = written(lambda: RunLog(Clock()).succeeded(JOB, duration_seconds=0.0125, worker=4))
    del line["time"]
    assert {
        "level": "INFO",
        "message": f"Successfully executed charm {REF.space}/{REF.charm_id}",
        "event": "run.succeeded",
        "space": REF.space,
        "charm": REF.charm_id,
        "job": 17,
        "attempt": 2,
        "duration": 0.0125,
        "worker": 4,
    } == line


def test_a_success_is_short_on_a_terminal() -> None:
    """A terminal's line does not repeat the space and the charm behind the message."""
    stream = Terminal()
    with logging_to(stream, no_color=True):
        RunLog(Clock()).succeeded(JOB, duration_seconds=0.5, worker=4)
    tail = "job=17 attempt=2 duration=0.500 worker=4"
    assert stream.getvalue().endswith(f"Successfully executed charm {REF}  {tail}\n")


def test_a_failure_is_a_warning_without_a_traceback() -> None:
    """A failed run tells cause, message on one line, job, attempt and next retry."""
    [line] = written(
        lambda: RunLog(Clock()).failed(JOB, FAILURE, retry_at=1000.0, duration_seconds=1.0)
    )
    assert "WARNING" == line["level"]
    assert f"Failed to execute charm {REF}: error: ValueError: no luck" == line["message"]
    assert ("error", 17, 2) == (line["cause"], line["job"], line["attempt"])
    assert "1970-01-01T00:16:40+00:00" == line["next_retry"]
    assert "exception" not in line


def test_a_last_failure_says_that_there_is_no_retry() -> None:
    """Without a retry the line says so."""
    [line] = written(
        lambda: RunLog(Clock()).failed(JOB, FAILURE, retry_at=None, duration_seconds=1.0)
    )
    assert "none" == line["next_retry"]


def test_an_endless_error_is_cut() -> None:
    """A charm's error cannot fill the log."""
    failure = replace(FAILURE, message="x" * 1_000_000)
    [line] = written(
        lambda: RunLog(Clock()).failed(JOB, failure, retry_at=None, duration_seconds=1.0)
    )
    assert len(line["message"]) < 700


def test_a_disabled_charm_is_an_error() -> None:
    """Disabling tells after how many failures, why, and when the charm comes back."""
    [line] = written(
        lambda: RunLog(Clock()).disabled(REF, FAILURE, consecutive_failures=5, back_at=86400.0)
    )
    assert ("ERROR", "charm.disabled", 5) == (
        line["level"],
        line["event"],
        line["consecutive_failures"],
    )
    assert f"Disabled charm {REF} after 5 consecutive failures: " in line["message"]
    assert "1970-01-02T00:00:00+00:00" == line["back_at"]


def test_a_flood_of_runs_is_summed_up() -> None:
    """Over the limit lines are counted, told once when the second is over, then written again."""
    clock = Clock()

    def speak() -> None:
        runs = RunLog(clock, limit=3)
        for _ in range(10):
            runs.succeeded(JOB, duration_seconds=0.0)
        clock.now += 0.999
        runs.tick()
        clock.now += 0.001
        runs.tick()
        runs.tick()
        runs.succeeded(JOB, duration_seconds=0.0)

    lines = written(speak)
    assert ["run.succeeded"] * 3 + ["run.succeeded_more", "run.succeeded"] == [
        line["event"] for line in lines
    ]
    assert 7 == lines[3]["count"]
    assert "Successfully executed charms: 7 more in one second" == lines[3]["message"]


def test_a_flood_of_successes_hides_no_failure() -> None:
    """Failures and disablings have budgets of their own."""

    def speak() -> None:
        runs = RunLog(Clock(), limit=1)
        runs.succeeded(JOB, duration_seconds=0.0)
        runs.succeeded(JOB, duration_seconds=0.0)
        runs.failed(JOB, FAILURE, retry_at=None, duration_seconds=0.0)
        runs.failed(JOB, FAILURE, retry_at=None, duration_seconds=0.0)
        runs.disabled(REF, FAILURE, consecutive_failures=5, back_at=0.0)
        runs.flush()
        runs.flush()

    assert [
        "run.succeeded",
        "run.failed",
        "charm.disabled",
        "run.succeeded_more",
        "run.failed_more",
    ] == [line["event"] for line in written(speak)]


def test_the_default_limit_is_200_lines_a_second() -> None:
    """Two hundred runs of a second are printed, the next is counted."""

    def speak() -> None:
        runs = RunLog(Clock())
        for _ in range(201):
            runs.succeeded(JOB, duration_seconds=0.0)

    assert 200 == len(written(speak))


def in_journal(write: Callable[[], None], file: Path, **settings: Any) -> list[str]:
    """Give the lines that a service writes whose output is the journal."""
    with open(file, "w+") as stream:
        found = os.fstat(stream.fileno())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
            with logging_to(stream, **settings):
                write()
        stream.seek(0)
        return stream.read().splitlines()


def test_each_line_in_the_journal_has_its_priority(tmp_path: Path) -> None:
    """By the mark of sd-daemon(3), also each line of a text of several lines."""

    def write() -> None:
        logger.info("all is well")
        logger.warning("first\nsecond")
        logger.error("bad")
        logger.critical("worse")

    lines = in_journal(write, tmp_path / "text", log_format="text")
    assert ["<6>", "<4>", "<4>", "<3>", "<2>"] == [line[:3] for line in lines]
    lines = in_journal(write, tmp_path / "json")
    assert ["<6>", "<4>", "<3>", "<2>"] == [line[:3] for line in lines]
    assert "bad" == json.loads(lines[2][3:])["message"]


def test_what_is_not_the_journal_gets_no_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that was redirected, a log file, and what is no file have the lines alone."""
    log = tmp_path / "service.log"
    lines = in_journal(lambda: logger.error("bad"), tmp_path / "journal", log_file=log)
    assert lines[0].startswith("<3>{")
    assert log.read_text().startswith("{")
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    with open(tmp_path / "redirected", "w") as stream, logging_to(stream):
        logger.error("bad")
    assert (tmp_path / "redirected").read_text().startswith("{")
    assert [] != written(lambda: logger.error("bad"))


def test_a_login_code_is_for_a_terminal_only(tmp_path: Path) -> None:
    """A log that is kept never has one, also beside a terminal."""
    log, terminal = tmp_path / "service.log", Terminal()
    with logging_to(terminal, log_file=log):
        logger.bind(event=LOGIN_LINK).info("Sign in: http://localhost/login?code=abc")
        logger.info("on both")
    assert "code=abc" in terminal.getvalue()
    assert "code=abc" not in log.read_text()
    assert "on both" in log.read_text()


def test_commands_in_the_log_name_the_service(tmp_path: Path) -> None:
    """Whoever reads the log can type them as they stand."""

    def write() -> None:
        logger.warning("Not initialised: run `bg-charm-service --initialize`")

    (line,) = written(write, data_dir=tmp_path)
    assert f"bg-charm-service --data-dir {tmp_path} --initialize`" in line["message"]


def test_credentials_are_masked_in_every_line() -> None:
    """In message, in what was bound, and in a traceback, as JSON and as text; whoever wrote it."""

    def speak() -> None:
        logger.bind(event="x", about="token=hushed-1").info("GET https://me:hushed-2@h/?q=hushed-3")
        logging.getLogger("library").warning("Authorization: Bearer hushed-4")
        try:
            raise ValueError('{"password": "hushed-5"}')
        except ValueError:
            logger.exception("It failed")

    def speak_as_text() -> str:
        stream = io.StringIO()
        with logging_to(stream, log_format="text"):
            speak()
        return stream.getvalue()

    lines = written(speak)
    for told in (json.dumps(lines), speak_as_text()):
        assert "hushed-" not in told
        assert "https://[secret]@h/?[secret]" in told
        assert "Authorization: [secret]" in told
    assert "token=[secret]" == lines[0]["about"]
    assert "[secret]" in lines[2]["exception"]


def test_the_login_link_can_be_followed() -> None:
    """A link that is told so that somebody opens it is not masked."""
    link = "http://localhost:8000/login?code=abc"
    (line,) = written(lambda: logger.bind(event="login_link").info("Sign in: {}", link))
    assert link in line["message"]
