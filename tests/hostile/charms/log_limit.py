"""Floods its log."""

import ctypes
import faulthandler
import logging
import os
import sys
import warnings

from loguru import logger

from tests.hostile.charms.hostile import LIBC, Hostile, ends

#: Written in all: more than any run may write, and little for a machine.
BLOCK = "x" * 1023 + "\n"
BLOCKS = 40 * 1024


@ends("log", "for writing")
def by_print(charm: Hostile) -> object:
    """As everybody prints."""
    for _ in range(BLOCKS):
        print(BLOCK, end="")
    return BLOCKS


@ends("log", "for writing")
def by_one_print(charm: Hostile) -> object:
    """One text of many megabytes."""
    print(BLOCK * BLOCKS)
    return 1


@ends("log", "for writing")
def without_a_line(charm: Hostile) -> object:
    """One line that never ends."""
    for _ in range(BLOCKS):
        print("x" * 1024, end="")
    return BLOCKS


@ends("log", "for writing")
def past_python(charm: Hostile) -> object:
    """To the descriptor itself."""
    data = BLOCK.encode() * 64
    for _ in range(BLOCKS // 64):
        os.write(1, data)
    return BLOCKS


@ends("log", "for writing")
def to_stderr(charm: Hostile) -> object:
    """To the other descriptor."""
    data = BLOCK.encode() * 64
    for _ in range(BLOCKS // 64):
        os.write(2, data)
    return BLOCKS


@ends("log", "for writing")
def by_logging(charm: Hostile) -> object:
    """With Python's logging."""
    for _ in range(BLOCKS):
        logging.getLogger("hostile").error(BLOCK)
    return BLOCKS


@ends("log", "for writing")
def by_loguru(charm: Hostile) -> object:
    """With the library that authors like."""
    for _ in range(BLOCKS):
        logger.info(BLOCK)
    return BLOCKS


@ends("log", "for writing")
def by_c(charm: Hostile) -> object:
    """With C's library."""
    data = ctypes.create_string_buffer(BLOCK.encode() * 64)
    for _ in range(BLOCKS // 64):
        LIBC.write(1, data, len(data.raw))
    return BLOCKS


@ends("success")
def a_little_too_much(charm: Hostile) -> object:
    """More than is kept, and no flood: cut, and no failure."""
    for _ in range(64):
        sys.stderr.write(BLOCK)
    warnings.warn("x" * 10_000, stacklevel=1)
    faulthandler.dump_traceback(2)
    return 64
