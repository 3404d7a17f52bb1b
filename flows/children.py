"""Stages as child processes: their lines as they come, how they ended in words, and a clean stop."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO

from speech.errors import UserError
from stages.runtime.faults import EXHAUSTED, LOST

TAIL_LINES = 15
BAR_SECONDS = 15.0  # a progress bar redraws itself many times a second; the log takes one of these
GRACE_SECONDS = (60.0, 20.0)  # after SIGINT a stage finishes its shard or checkpoint; after SIGTERM it had better hurry

# What DVC tells people who type its commands, after every stage.
_ADVICE = re.compile(
    r"^(Running stage '|Updating lock file|Generating lock file|To track the changes with git|\s*git add |"
    r"To enable auto staging|\s*dvc config core\.autostage|Use `dvc push`|"
    # Of an experiment: every output that a new copy does not have yet, and how to take the results over.
    r"WARNING: No file hash info found for |To apply the results|\s*dvc exp apply )"
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# What DVC prints of itself when the machine failed it, and whether another try may succeed.
_DVC_FAULTS = {
    "No space left on device": ("the disk filled while DVC kept the outputs: make room and run again", False),
    "Cannot allocate memory": ("out of memory", False),
    "database is locked": ("DVC's own database was locked by another process", True),
}
_STATUS = re.compile(r"exited with (-?\d+)")
_MEANING = {
    signal.SIGKILL: "most likely out of memory (see 'dmesg'); lower runtime.workers or the batch size and run again",
    signal.SIGTERM: "asked to end, by a person, a job scheduler or a shutdown",
    signal.SIGINT: "interrupted by Ctrl-C",
    signal.SIGSEGV: "a crash inside a native library",
    signal.SIGABRT: "a native library gave up",
    signal.SIGBUS: "a crash inside a native library, or a disk that filled while a file was mapped",
    signal.SIGILL: "an instruction that this processor lacks: a wheel built for another one",
    signal.SIGXCPU: "over its limit of processor time",
    signal.SIGHUP: "its terminal was closed",
}


@dataclass(frozen=True)
class Ending:
    """The end of a child: its own exit status, a signal as a negative number, and its lines' tail."""

    status: int
    tail: tuple[str, ...]

    @property
    def reported(self) -> int:
        """The exit status of the stage's command, where DVC tells it; else DVC's own."""
        told = [match for line in self.tail if (match := _STATUS.search(line))]
        return int(told[-1][1]) if told and self.status > 0 else self.status

    @property
    def signal(self) -> signal.Signals | None:
        """The signal that ended the stage: of DVC itself, or of the command that DVC reports."""
        status = self.reported
        number = -status if status < 0 else status - 128
        try:
            return signal.Signals(number) if status < 0 or status > 128 else None
        except ValueError:
            return None

    @property
    def fault(self) -> str:
        """A sentence on what the machine did to the stage; empty where it ended by its own fault, or by none."""
        if self.status == 0:
            return ""
        if self.signal:
            return f"ended by {self.signal.name}: {_MEANING.get(self.signal, 'no further meaning known')}"
        if self.reported in (EXHAUSTED, LOST):
            stated = [line.removeprefix("error: ") for line in self.tail if line.startswith("error: ")]
            return stated[-1] if stated else "memory, disk or a worker gave out"
        return next((sentence for text, (sentence, _) in _DVC_FAULTS.items() if self.holds(text)), "")

    @property
    def may_pass(self) -> bool:
        """True for a fault that another try may be spared: a stage killed from outside, a lost worker."""
        if self.signal or self.reported in (EXHAUSTED, LOST):
            return self.signal == signal.SIGKILL or self.reported == LOST
        return bool(self.fault) and any(again and self.holds(text) for text, (_, again) in _DVC_FAULTS.items())

    def meaning(self) -> str:
        """Return one sentence, then the last lines."""
        return "\n".join([self.fault or f"exit status {self.reported}", *self.tail])

    def holds(self, *texts: str) -> bool:
        """Return whether any of the last lines holds all of ``texts``."""
        return any(all(text in line for text in texts) for line in self.tail)


class Children:
    """The child processes of one flow, each in a session of its own: Ctrl-C reaches this process alone."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def run(self, command: Sequence[str], environment: Mapping[str, str], log: Callable[[str], None]) -> Ending:
        """Run a command to its end; each line it prints is given to ``log`` as it comes."""
        with self._lock:
            child = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running.add(child)
        if self.stopped.is_set():
            self._signal(signal.SIGINT)
        threading.Thread(target=_end_orphans, args=(child,), daemon=True).start()
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        assert child.stdout
        with child.stdout:
            for line in _lines(child.stdout):
                tail.append(line)
                log(line)
        status = child.wait()
        with self._lock:
            self._running.discard(child)
        return Ending(status, tuple(tail))

    def pids(self) -> set[int]:
        """Return the process numbers of those at work."""
        with self._lock:
            return {child.pid for child in self._running}

    def stop(self) -> None:
        """End all children: at once by SIGINT, after a while by SIGTERM, at last by SIGKILL; a second call hurries."""
        if self.stopped.is_set():
            self._signal(signal.SIGTERM)
            return
        self.stopped.set()
        threading.Thread(target=self._insist, daemon=True).start()

    def _insist(self) -> None:
        self._signal(signal.SIGINT)
        for seconds, number in zip(GRACE_SECONDS, (signal.SIGTERM, signal.SIGKILL), strict=True):
            deadline = time.monotonic() + seconds
            while self._running and time.monotonic() < deadline:
                time.sleep(0.2)
            self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            for child in self._running:
                if child.poll() is None:
                    _signal_group(child.pid, number)


def _signal_group(group: int, number: int) -> bool:
    """Send a signal; return whether anybody was there to get it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _end_orphans(child: subprocess.Popen[bytes]) -> None:
    """End what works on when the child itself is gone, killed: nobody would record what it makes, and another try
    must not meet it.
    """
    child.wait()
    deadline = time.monotonic() + GRACE_SECONDS[0]
    left = _signal_group(child.pid, signal.SIGTERM)
    while left and time.monotonic() < deadline:
        time.sleep(0.2)
        left = _signal_group(child.pid, 0)
    if left:
        _signal_group(child.pid, signal.SIGKILL)


def _lines(output: IO[bytes]) -> Iterator[str]:
    """Yield lines as they come; of a bar that redraws itself after a carriage return, one state every so often."""
    shown = 0.0
    for piece in io.TextIOWrapper(output, encoding="utf-8", errors="replace", newline=""):
        text, is_bar = _ANSI.sub("", piece).rstrip(), piece.endswith("\r")
        if not text or _ADVICE.match(text) or (is_bar and time.monotonic() - shown < BAR_SECONDS):
            continue
        shown = time.monotonic() if is_bar else shown
        yield text


@contextmanager
def remembered_interrupts() -> Iterator[threading.Event]:
    """Let Ctrl-C raise KeyboardInterrupt as ever, and set the event that is yielded, while inside.

    Reading a graph goes through libraries that catch everything where they expect one thing, and a KeyboardInterrupt
    with it; what is raised while Python cleans up is lost as well. Whoever has typed Ctrl-C must not see a flow begin.
    """
    heard = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        heard.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, hear)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


def run_command(body: Callable[[threading.Event], int]) -> int:
    """Run what a command line asks for; ``body`` is told whether Ctrl-C was heard.

    Returns:
        The exit status: that of ``body``, 2 after a user's error, which is printed in a line, 130 after Ctrl-C.
    """
    try:
        with remembered_interrupts() as interrupted:
            return body(interrupted)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130


@contextmanager
def stopped_by_signals(children: Children) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the stages while inside, and so the flow; this process is not torn from under them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        children.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
