"""Where log lines go and what they look like: text on a terminal, one JSON object a line elsewhere.

Owns loguru's sinks and catches the standard library's logging. Every line is masked here, whoever
wrote it. It decides nothing about what is worth a line; `run_log` does that for runs. Opened once
by the command line; SIGHUP reopens.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import traceback
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from bg_charm_service.daemon.readers import reader_of_log
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.daemon.systemd import is_journal, priority
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.redaction import mask
from bg_charm_service.domain.typed_commands import Reader

if TYPE_CHECKING:
    from loguru import Message, Record

#: Libraries that tell at INFO what our own lines tell already.
_QUIET_LOGGERS = ("uvicorn", "uvicorn.access", "httpx2", "httpcore2", "asyncio")

#: The event of the line with a code that signs in: it is for who looks at a terminal, not to keep.
LOGIN_LINK = "login_link"

#: Knows the program by its name, and needs no options.
_ANYBODY = Reader()

#: Extras that a text line leaves out; JSON has them.
_NOT_IN_TEXT = frozenset({"event"})

#: Events whose lines are not masked: one holds nothing that anybody else wrote, and is written with
#: every run; the link of the other is there to be followed.
_NOT_MASKED = frozenset({"run.succeeded", "login_link"})

_COLOURS = {"WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[1;31m"}
_DIM = "\033[2m"
_PLAIN = "\033[0m"


def render_json(record: Record, environment: str = "", reader: Reader = _ANYBODY) -> str:
    """Write a record as one JSON object without a line break."""
    line: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "message": reader.typeable(record["message"]),
    }
    if environment:
        line["env"] = environment
    for name, value in record["extra"].items():
        line.setdefault(name, _json_value(value))
    if record["exception"] is not None:
        line.setdefault("exception", _traceback(record))
    if _is_masked(record):
        line = {
            name: mask(value) if isinstance(value, str) else value for name, value in line.items()
        }
    return json.dumps(line)


def render_text(record: Record, *, colour: bool, reader: Reader = _ANYBODY) -> str:
    """Write a record for a person; what a charm may have put in it cannot drive the terminal."""
    level = record["level"].name
    masked = mask if _is_masked(record) else str
    message = _visible(masked(reader.typeable(record["message"])))
    tail = " ".join(
        f"{name}={_visible(masked(_text_value(value)))}"
        for name, value in record["extra"].items()
        if name not in _NOT_IN_TEXT and not (isinstance(value, str) and value in record["message"])
    )
    moment = f"{record['time']:%H:%M:%S}"
    if record["exception"] is not None:
        message += "\n    " + _visible(masked(_traceback(record)))
    if not colour:
        return f"{moment} {level:<8} {message}" + (f"  {tail}" if tail else "")
    shade = _COLOURS.get(level, "")
    text = f"{_DIM}{moment}{_PLAIN} {shade}{level:<8} {message}{_PLAIN}"
    return text + (f"  {_DIM}{tail}{_PLAIN}" if tail else "")


def _is_masked(record: Record) -> bool:
    return record["extra"].get("event") not in _NOT_MASKED


def _traceback(record: Record) -> str:
    found = record["exception"]
    if found is None or found.value is None:
        return ""
    return "".join(traceback.format_exception(found.value)).rstrip()


def _json_value(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return round(value, 6)
    return str(value)


def _text_value(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable()
        else "\n    "
        if letter == "\n"
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


class _Sink:
    """Writes rendered records; a line that cannot be written is lost, counted, and told later."""

    def __init__(
        self,
        render: Callable[[Record], str],
        write: Callable[[str], None],
        *,
        is_journal: bool = False,
        keeps_codes: bool = True,
    ) -> None:
        self._render = render
        self._write = write
        self._is_journal = is_journal
        self._keeps_codes = keeps_codes
        self._lost = 0

    def __call__(self, message: Message) -> None:
        if not self._keeps_codes and message.record["extra"].get("event") == LOGIN_LINK:
            return
        try:
            if self._lost:
                self._write(f"{self._lost} log lines could not be written\n")
                self._lost = 0
            text = self._render(message.record)
            if self._is_journal:
                # It takes each line for an entry of its own.
                mark = priority(message.record["level"].no)
                text = mark + text.replace("\n", f"\n{mark}")
            self._write(text + "\n")
        except (OSError, ValueError):
            self._lost += 1


class _LogFile:
    """An append-only file that can be opened anew after it was moved away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor = self._open()

    def write(self, line: str) -> None:
        data = memoryview(line.encode("utf-8", "backslashreplace"))
        with self._lock:
            if self._descriptor < 0:
                raise ValueError("the log file is closed")
            while data:
                data = data[os.write(self._descriptor, data) :]

    def reopen(self) -> None:
        fresh = self._open()
        self._replace(fresh)

    def close(self) -> None:
        self._replace(-1)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, 0o600)
        except OSError as error:
            raise _not_opened(self._path, error) from None

    def _replace(self, descriptor: int) -> None:
        with self._lock:
            old, self._descriptor = self._descriptor, descriptor
        if old >= 0:
            os.close(old)


class _FromStandardLogging(logging.Handler):
    """Passes what libraries log through the standard library on to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level: str | int = record.levelname
        try:
            logger.level(record.levelname)
        except ValueError:
            level = record.levelno
        try:
            message = record.getMessage()
        except Exception:  # a library's own format string does not fit its arguments
            message = str(record.msg)
        bound = logger.opt(exception=record.exc_info).bind(logger=record.name)
        bound.log(level, message)


def check_log_file(path: Path | None) -> None:
    """Raise InvalidInput for a file that could not be opened; makes none."""
    if path is None:
        return
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        is_new = isinstance(error, FileNotFoundError) and os.access(path.parent, os.W_OK | os.X_OK)
        if not is_new:
            raise _not_opened(path, error) from None


def _not_opened(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput(f"--log-file={str(path)!r}: cannot be opened: {error.strerror}")


class Logs:
    """The open sinks; made by `open_logs`."""

    def __init__(self, file: _LogFile | None, sink_ids: list[int], *, has_reader: bool) -> None:
        self.has_reader = has_reader  #: somebody looks at it now, on a terminal
        self._file = file
        self._sink_ids = sink_ids
        self._standard = _FromStandardLogging()
        root = logging.getLogger()
        root.addHandler(self._standard)
        root.setLevel(logging.INFO)
        for name in _QUIET_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)

    def reopen(self) -> None:
        """Open the log file anew; when that fails, say so and go on with the old one."""
        if self._file is None:
            return
        try:
            self._file.reopen()
        except InvalidInput as error:
            logger.bind(event="log.reopen_failed").error(str(error))

    def close(self) -> None:
        """Remove the sinks; closing twice is fine."""
        logging.getLogger().removeHandler(self._standard)
        for sink_id in self._sink_ids:
            logger.remove(sink_id)
        self._sink_ids = []
        if self._file is not None:
            self._file.close()


def open_logs(settings: Settings, stream: TextIO) -> Logs:
    """Send everything that is logged to the stream, and to the log file when there is one.

    Replaces loguru's default sink. Raises InvalidInput when the log file cannot be opened.
    """
    file = _LogFile(settings.log_file) if settings.log_file is not None else None
    is_terminal = stream.isatty()
    colour = is_terminal and not settings.no_color
    reader = reader_of_log(settings)

    def as_json(record: Record) -> str:
        return render_json(record, settings.environment, reader)

    def as_text(record: Record) -> str:
        return render_text(record, colour=False, reader=reader)

    def as_stream_text(record: Record) -> str:
        return render_text(record, colour=colour, reader=reader)

    def write_to_stream(line: str) -> None:
        encoding = stream.encoding or "utf-8"
        stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()

    wants_text = settings.log_format == "text"
    stream_is_text = wants_text or (settings.log_format == "auto" and is_terminal)
    to_stream = as_stream_text if stream_is_text else as_json
    sinks = [_Sink(to_stream, write_to_stream, is_journal=is_journal(stream))]
    if file is not None:
        sinks.append(_Sink(as_text if wants_text else as_json, file.write, keeps_codes=False))
    logger.remove()
    # The sinks render the record themselves, so loguru need not format it as well.
    sink_ids = [
        logger.add(sink, level="INFO", format=lambda _: "", backtrace=False, diagnose=False)
        for sink in sinks
    ]
    return Logs(file, sink_ids, has_reader=is_terminal)
