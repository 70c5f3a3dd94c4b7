"""The zygote: a small preloaded process that forks workers in milliseconds.

Single-threaded, so that forking is safe. It knows no charm, no key and no database; its
environment is scrubbed before it starts. When the supervisor is gone it ends its workers, and ends.
Started by `ZygoteClient` of the pool.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import traceback
from typing import NoReturn

from bg_charm_service.workers.runtime import lean_forks

# All that comes with these: what libraries do around a fork takes longer than the fork.
with lean_forks.left_out():
    import msgspec

    from bg_charm_service.workers.protocol.messages import Exited, FromZygote, Spawn, Spawned
    from bg_charm_service.workers.protocol.processes import (
        children_of,
        end_group,
        leave_signals_to_main,
        set_subreaper,
    )
    from bg_charm_service.workers.runtime.boot import WorkerPreparation, preload, run_worker
    from bg_charm_service.workers.runtime.worker import Tools

_MESSAGE_BYTES = 65536
_FDS_PER_SPAWN = 4

_spawn_decoder = msgspec.msgpack.Decoder(Spawn)
_encoder = msgspec.msgpack.Encoder()


class Zygote:
    """Forks on request, reaps, and reports each death."""

    def __init__(self, control: socket.socket, tools: Tools) -> None:
        self._control = control
        self._tools = tools
        self._workers: dict[int, int] = {}

    def run(self) -> None:
        """Serve until the supervisor closes its end."""
        wakeup_in, wakeup_out = os.pipe()
        os.set_blocking(wakeup_in, False)
        os.set_blocking(wakeup_out, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup_out, warn_on_full_buffer=False)
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(wakeup_in, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if wakeup_in in ready:
                os.read(wakeup_in, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._serve():
                break
        self._end_all()

    def _serve(self) -> bool:
        """Fork one worker; False once the supervisor is gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, _FDS_PER_SPAWN)
        except ConnectionResetError:
            # It left without having read our last report.
            return False
        if not data:
            return False
        request = _spawn_decoder.decode(data)
        preparation = WorkerPreparation(request.settings)
        try:
            connection_fd, out_fd, err_fd, tickets_fd = fds
            pid = os.fork()
        except (OSError, ValueError):
            # No room for a process or for its descriptors: the other workers live on.
            self._report(Exited(request.worker_no, os.EX_OSERR))
        else:
            if pid == 0:
                _be_worker(connection_fd, out_fd, err_fd, tickets_fd, preparation, self._tools)
            self._workers[pid] = request.worker_no
            self._report(Spawned(request.worker_no, pid))
        finally:
            preparation.close()
            for fd in fds:
                os.close(fd)
        return True

    def _reap(self) -> None:
        """Report every worker that ended, once whatever it left behind has been killed too."""
        ended = []
        for pid, status in iter(_next_ended, None):
            # Others are orphans of workers, which nobody waits for.
            if (worker_no := self._workers.pop(pid, None)) is not None:
                end_group(pid)
                ended.append(Exited(worker_no, os.waitstatus_to_exitcode(status)))
        self._end_orphans()
        for report in ended:
            self._report(report)

    def _end_orphans(self) -> None:
        """Kill descendants of ended workers that left their process group: they are ours now.

        The end of each brings its own children, and us back here.
        """
        for pid in children_of(os.getpid()):
            if pid not in self._workers:
                end_group(pid)

    def _end_all(self) -> None:
        """Kill every descendant, generation after generation."""
        while children := children_of(os.getpid()):
            for pid in children:
                end_group(pid)
            os.waitpid(-1, 0)

    def _report(self, message: FromZygote) -> None:
        # A supervisor that is gone is seen as the end of the control socket.
        try:
            self._control.send(_encoder.encode(message))
        except OSError:
            return


def _be_worker(
    connection_fd: int,
    out_fd: int,
    err_fd: int,
    tickets_fd: int,
    preparation: WorkerPreparation,
    tools: Tools,
) -> NoReturn:
    """Be a worker, to the end: nothing of the zygote goes on in a forked child."""
    try:
        run_worker(connection_fd, out_fd, err_fd, tickets_fd, preparation, tools)
    except BaseException:
        # Not what stands in its place by now.
        traceback.print_exc(file=sys.__stderr__)
    os._exit(1)


def _next_ended() -> tuple[int, int] | None:
    """Reap a child that has ended; None while none has."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def main(control_fd: int) -> None:
    """Run the zygote on an inherited socket."""
    set_subreaper()
    # Inherited by workers.
    leave_signals_to_main()
    with lean_forks.left_out():
        tools = preload()
    gc.collect()
    gc.freeze()
    Zygote(socket.socket(fileno=control_fd), tools).run()
    sys.stdout.flush()
