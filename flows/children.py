"""Stages as child processes: their lines as they come, how they ended in words, and a clean stop."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flows.forks import Forked, Forks
from stages.runtime.faults import EXHAUSTED, LOST

Child = subprocess.Popen[bytes] | Forked

TAIL_LINES = 15
BAR_SECONDS = 15.0  # a progress bar redraws itself many times a second; the log takes one of these
GRACE_SECONDS = (60.0, 20.0)  # after SIGINT a stage finishes its shard or checkpoint; after SIGTERM it had better hurry

# What DVC tells people who type its commands, after every stage.
_ADVICE = re.compile(
    r"^(Running stage '|Updating lock file|Generating lock file|To track the changes with git|\s*git add |"
    r"To enable auto staging|\s*dvc config core\.autostage|Use `dvc push`)"
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# What DVC says of itself when the machine failed it, and whether another try may succeed.
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
    """How a child ended: its lines' tail, its own exit status, the signal that ended it or its command."""

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
        """In a sentence, what the machine did to the stage; empty where it ended by its own fault, or by none."""
        if self.status == 0:
            return ""
        if self.signal:
            return f"ended by {self.signal.name}: {_MEANING.get(self.signal, 'no further meaning known')}"
        if self.reported in (EXHAUSTED, LOST):
            said = [line.removeprefix("error: ") for line in self.tail if line.startswith("error: ")]
            return said[-1] if said else "memory, disk or a worker gave out"
        return next((sentence for text, (sentence, _) in _DVC_FAULTS.items() if self.says(text)), "")

    @property
    def may_pass(self) -> bool:
        """Whether the fault is one that another try may be spared: a stage killed from outside, a lost worker."""
        if self.signal or self.reported in (EXHAUSTED, LOST):
            return self.signal == signal.SIGKILL or self.reported == LOST
        return bool(self.fault) and any(again and self.says(text) for text, (_, again) in _DVC_FAULTS.items())

    def meaning(self) -> str:
        """One sentence, then the last lines."""
        return "\n".join([self.fault or f"exit status {self.reported}", *self.tail])

    def says(self, *texts: str) -> bool:
        """Whether any of the last lines holds all of ``texts``."""
        return any(all(text in line for text in texts) for line in self.tail)


class Children:
    """The child processes of one reproduction, each in a session of its own: Ctrl-C reaches this process alone."""

    def __init__(self, forks: Forks | None = None) -> None:
        self.stopped = threading.Event()
        self._running: set[Child] = set()
        self._lock = threading.Lock()
        self._forks = forks or Forks()

    def run(self, command: Sequence[str], environment: Mapping[str, str], say: Callable[[str], None]) -> Ending:
        """Run a command to its end; each line it prints is given to ``say`` as it comes."""

        def start(output: int) -> Child:
            return subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

        return self._run(start, say)

    def run_dvc(self, arguments: Sequence[str], environment: Mapping[str, str], say: Callable[[str], None]) -> Ending:
        """The same for ``dvc`` with ``arguments``, which is quicker to begin with from the second on."""
        return self._run(lambda output: self._forks.start(arguments, environment, output), say)

    def _run(self, start: Callable[[int], Child], say: Callable[[str], None]) -> Ending:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            try:
                with self._lock:
                    child = start(writing)
                    self._running.add(child)
            finally:
                os.close(writing)
            if self.stopped.is_set():
                self._signal(signal.SIGINT)
            tail: deque[str] = deque(maxlen=TAIL_LINES)
            for line in _lines(child, pipe.fileno()):
                tail.append(line)
                say(line)
        status = child.wait()
        with self._lock:
            self._running.discard(child)
        return Ending(status, tuple(tail))

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


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _lines(child: Child, pipe: int) -> Iterator[str]:
    """Lines as they come; of a bar that redraws itself after a carriage return, one state every so often."""
    shown, rest = 0.0, b""
    for chunk in _chunks(child, pipe):
        *whole, rest = re.split(rb"(?<=[\r\n])", rest + chunk)
        for piece in whole:
            text = _ANSI.sub("", piece.decode(errors="replace")).rstrip()
            is_bar = piece.endswith(b"\r")
            if not text or _ADVICE.match(text) or (is_bar and time.monotonic() - shown < BAR_SECONDS):
                continue
            shown = time.monotonic() if is_bar else shown
            yield text
    if text := _ANSI.sub("", rest.decode(errors="replace")).rstrip():
        yield text


def _chunks(child: Child, pipe: int) -> Iterator[bytes]:
    """Output until its end. Where the child was killed and its own child works on, alone, that one is ended too:
    nobody would record what it makes, and another try must not meet it.
    """
    killed_at = 0.0
    while True:
        if select.select([pipe], [], [], 0.5)[0]:
            if not (chunk := os.read(pipe, 65536)):
                return
            yield chunk
        elif child.poll() is not None and not killed_at:
            killed_at = time.monotonic()
            _signal_group(child.pid, signal.SIGTERM)
        elif killed_at and time.monotonic() - killed_at > GRACE_SECONDS[0]:
            _signal_group(child.pid, signal.SIGKILL)
