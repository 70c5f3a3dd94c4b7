"""What a run leaves outside of its process: files in its scratch directory, unread raw output.

Cheap to ask, because it is asked after every run; the supervisor reads and removes it, and only
then is there another run. Used by the worker.
"""

from __future__ import annotations

import fcntl
import os
import termios

#: When an empty scratch directory was changed last, in nanoseconds since the epoch: never. What
#: comes or goes in it changes that, and a sandboxed process cannot set it.
UNTOUCHED_NS = 0

#: Both lead into one pipe; a run may have closed one of them.
_RAW_OUTPUT_FDS = (1, 2)

#: How the system says how many bytes wait in a pipe, and that none do.
_COUNT_BYTES = 4
_NO_BYTES = bytes(_COUNT_BYTES)


class Leftovers:
    """Looks for them; `scratch` is a path, or empty."""

    def __init__(self, scratch: str) -> None:
        self._scratch = scratch
        self._waiting = bytearray(_COUNT_BYTES)

    def are_there(self) -> bool:
        """Whether there are any."""
        return self._has_output() or self._has_files()

    def _has_output(self) -> bool:
        for fd in _RAW_OUTPUT_FDS:
            try:
                fcntl.ioctl(fd, termios.FIONREAD, self._waiting)
            except OSError:
                continue
            return self._waiting != _NO_BYTES
        return False

    def _has_files(self) -> bool:
        if not self._scratch:
            return False
        try:
            return os.stat(self._scratch).st_mtime_ns != UNTOUCHED_NS
        except OSError:
            return True
