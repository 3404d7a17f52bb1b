"""Stages as child processes: their lines as they come, how they ended in words, and a clean stop."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

TAIL_LINES = 15
BAR_SECONDS = 15.0  # a progress bar redraws itself many times a second; the log takes one of these
GRACE_SECONDS = (60.0, 20.0)  # after SIGINT a stage finishes its shard or checkpoint; after SIGTERM it had better hurry

# What DVC tells people who type its commands, after every stage.
_ADVICE = re.compile(
    r"^(Running stage '|Updating lock file|Generating lock file|To track the changes with git|\s*git add |"
    r"To enable auto staging|\s*dvc config core\.autostage|Use `dvc push`)"
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
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

    def meaning(self) -> str:
        """One sentence, then the last lines."""
        if self.signal:
            first = f"ended by {self.signal.name}: {_MEANING.get(self.signal, 'no further meaning known')}"
        else:
            first = f"exit status {self.reported}"
        return "\n".join([first, *self.tail])

    def says(self, *texts: str) -> bool:
        """Whether any of the last lines holds all of ``texts``."""
        return any(all(text in line for text in texts) for line in self.tail)


class Children:
    """The child processes of one reproduction, each in a session of its own: Ctrl-C reaches this process alone."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def run(self, command: Sequence[str], environment: Mapping[str, str], say: Callable[[str], None]) -> Ending:
        """Run a command to its end; each line it prints is given to ``say`` as it comes."""
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
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        assert child.stdout is not None, "asked for above"
        for line in _lines(child.stdout):
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
                    os.killpg(child.pid, number)


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Lines as they come; of a bar that redraws itself after a carriage return, one state every so often."""
    shown, rest = 0.0, b""
    while chunk := os.read(stream.fileno(), 65536):
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
