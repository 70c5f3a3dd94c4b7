"""Who reads what this program prints: by which program they start it, and what it needs to be told.

The one place that knows what can be typed here. Asked by the command line for whoever called it,
and by the daemon for whoever reads its log and pages.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from bg_charm_service.daemon.config_file import read_configuration
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.package_folder import PACKAGE_FOLDER
from bg_charm_service.domain.typed_commands import PROGRAM, Reader


def program_name() -> str:
    """Give the program as it can be typed here: its name, or where it lies."""
    above_package = PACKAGE_FOLDER.resolve().parent
    if (above_package / "setup.cfg").is_file():
        launcher = Path("bin") / PROGRAM
        return str(launcher if _is_here(above_package) else above_package / launcher)
    started = Path(sys.argv[0])
    if shutil.which(PROGRAM) is None and started.name == PROGRAM:
        return str(started.absolute())
    return PROGRAM


def reader_of_log(settings: Settings) -> Reader:
    """Whoever reads the log of a service: with nothing of its flags and environment."""
    return _reader({"data_dir": settings.data_dir}, {})


def reader_of_command(flags: Mapping[str, object], environ: Mapping[str, str]) -> Reader:
    """Whoever has called a command with these flags, and has this environment also for the next."""
    return _reader(flags, environ)


def _reader(flags: Mapping[str, object], environ: Mapping[str, str]) -> Reader:
    if url := flags.get("service_url"):
        return Reader(program_name(), ("--url", str(url)))
    options: tuple[str, ...] = ()
    if file := flags.get("config_file"):
        options = ("--config", os.path.abspath(str(file)))
    data_dir = flags.get("data_dir")
    if data_dir and os.path.abspath(str(data_dir)) != _plain_data_dir(options, environ):
        options += ("--data-dir", os.path.abspath(str(data_dir)))
    return Reader(program_name(), options)


def _plain_data_dir(options: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    """Give the data directory that a command takes without being told of one; None if it cannot."""
    flags = {"config_file": Path(options[1])} if options else {}
    try:
        return os.path.abspath(read_configuration(flags, environ).settings.data_dir)
    except InvalidInput:
        # The same was refused already, with a reason; or is the business of whoever reads it.
        return None


def _is_here(folder: Path) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)
    except OSError:
        return False
