"""DVC imported once, and a copy of that process for every stage.

A new ``dvc`` imports for half a processor-second before it looks at anything; a flow of forty stages would pay it forty
times, and the stages below would wait for it. The process here has imported, runs nothing itself and has no threads, so
that a copy of it by ``fork`` begins as a new ``dvc`` would, at once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

PROJECT = Path(__file__).resolve().parents[1]

# What DVC imports by the time a stage has run: it loads most of it late.
PRELOADED = (
    "dulwich.ignore",
    "dulwich.worktree",
    "dvc.cachemgr",
    "dvc.cli.parser",
    "dvc.commands.repro",
    "dvc.data_cloud",
    "dvc.lock",
    "dvc.repo.reproduce",
    "dvc.rwlock",
    "dvc.scm",
    "dvc.stage.cache",
    "dvc.stage.run",
    "dvc_data.hashfile.checkout",
    "dvc_data.hashfile.transfer",
    "dvc_objects.fs.local",
    "dvc_render",
    "networkx",
    "psutil",
    "pyparsing",
    "ruamel.yaml",
    "scmrepo.git",
)


class Forked:
    """A ``dvc`` at work, to be asked like a ``subprocess.Popen``."""

    def __init__(self, pid: int, reply: socket.socket) -> None:
        self.pid = pid
        self._reply = reply
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status, a signal as a negative number; None while it works."""
        if self._status is None and select.select([self._reply], [], [], 0)[0]:
            return self.wait()
        return self._status

    def wait(self) -> int:
        """Its exit status, once it has ended. SIGKILL's where the process that it is a copy of is no more."""
        if self._status is None:
            told = self._reply.recv(64)
            self._status = int(told) if told else -signal.SIGKILL
            self._reply.close()
        return self._status


class Forks:
    """The process that has imported DVC; started when the first ``dvc`` is, ended with this object."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._lock = threading.Lock()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], output: int) -> Forked:
        """``dvc`` with ``arguments`` in this working directory, in a session of its own, writing to ``output``."""
        request = {"arguments": list(arguments), "environment": dict(environment), "folder": os.fspath(Path.cwd())}
        with self._lock, tempfile.TemporaryFile() as written:
            written.write(json.dumps(request).encode())
            written.seek(0)
            if self._control is None:
                self._begin()
            try:
                return self._ask(written.fileno(), output)
            except ConnectionError:  # it was killed, as what takes memory may be; another one takes its place
                self._begin()
                written.seek(0)
                return self._ask(written.fileno(), output)

    def _ask(self, request: int, output: int) -> Forked:
        assert self._control
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [b"1"], [request, output, theirs.fileno()])
            if not (told := ours.recv(64)):
                raise ConnectionResetError("the process that has imported DVC is gone")
        except ConnectionError:
            ours.close()
            raise
        return Forked(int(told), ours)

    def copy_this(self) -> None:
        """Let a copy of this very process be the one that has imported DVC: for a program that needs DVC itself.

        To be called while it has no threads, which a copy would lack.
        """
        preload()
        ours, theirs = socket.socketpair()
        if pid := os.fork():
            theirs.close()
            self._keep(ours, lambda: os.waitpid(pid, 0))
            return
        try:
            os.setsid()
            _close_all_but(theirs.fileno())
            with Path(os.devnull).open() as nothing:
                os.dup2(nothing.fileno(), 0)
            serve(theirs)
        except Exception:  # noqa: BLE001  nothing is above this to say it
            traceback.print_exc()
        finally:
            os._exit(0)

    def _begin(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "flows.forks", str(theirs.fileno())],
                cwd=PROJECT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._keep(ours, process.wait)

    def _keep(self, control: socket.socket, wait: Callable[[], object]) -> None:
        self._control = control
        weakref.finalize(self, _end, control, wait)


def _close_all_but(kept: int) -> None:
    """What this process has open, a lock above all, is not its copy's to keep; its standard streams are."""
    for handle in list(Path("/dev/fd").iterdir()):  # the highest number allowed may be a thousand million
        if (number := int(handle.name)) > 2 and number != kept:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(number)


def _end(control: socket.socket, wait: Callable[[], object]) -> None:
    control.close()
    wait()


def preload() -> None:
    """Import what a ``dvc`` will have imported."""
    for name in PRELOADED:
        with contextlib.suppress(ImportError):  # another release of DVC; it will import what it needs
            importlib.import_module(name)


def serve(control: socket.socket) -> None:
    """Fork for every request until the other end is closed; tell of each copy its number, then how it ended."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)  # the byte in the pipe is what counts
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    replies: dict[int, socket.socket] = {}
    while True:
        ready = select.select([control.fileno(), woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _reap(replies)
        if control.fileno() in ready:
            asked, handles, _, _ = socket.recv_fds(control, 1, 3)
            if not asked:
                return
            request, output, number = handles
            reply = socket.socket(fileno=number)
            reading, begun = os.pipe()
            if not (pid := os.fork()):
                become_dvc(request, output, (control, reply, *replies.values()), begun)
            for handle in (request, output, begun):
                os.close(handle)
            os.read(reading, 1)  # nothing, once the copy is a session that a signal to it reaches
            os.close(reading)
            replies[pid] = reply
            reply.sendall(str(pid).encode())


def _reap(replies: dict[int, socket.socket]) -> None:
    while replies:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with replies.pop(pid) as reply, contextlib.suppress(BrokenPipeError):  # whoever asked is gone
            reply.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def become_dvc(request: int, output: int, inherited: Iterable[socket.socket], begun: int) -> NoReturn:
    """Be the ``dvc`` of a request, to the end; ``begun`` is closed when signals to the new session are heard."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(begun)
        for connection in inherited:
            connection.close()
        with os.fdopen(request, "rb") as written:
            asked = json.load(written)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        sys.argv = ["dvc", *asked["arguments"]]  # what DVC tells others who wait for its locks
        from dvc.cli import main

        status = main(asked["arguments"])
    except Exception:  # noqa: BLE001  nothing is above this to say it
        traceback.print_exc()
    finally:  # whatever happens, Ctrl-C too, this copy does not go on as the process that it was copied from
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    preload()
    serve(socket.socket(fileno=int(sys.argv[1])))
