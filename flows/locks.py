"""Who else works in this project: another reproduction, or somebody's own ``dvc``. One waits, and is told for whom."""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from speech.storage.files import write_json

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 10.0  # DVC holds its lock for moments; longer than this is worth a line
_BUSY = re.compile(r"'(?P<path>[^']+)' is busy, it is being blocked by")
_BLOCKER = re.compile(r"^\s*\(PID (?P<pid>\d+)\): (?P<command>.*)")
_held: set[Path] = set()


class StoppedError(Exception):
    """Asked to end while waiting."""


@contextmanager
def alone(root: Path, say: Callable[[str], None], stopped: threading.Event | None = None) -> Iterator[None]:
    """Hold the project against other reproductions; waits for one that is at work, and says so.

    Two of them would compose ``params.yaml`` under each other's stages. A process that holds it already, as the
    command line does around the flow, goes on. The lock ends with its process, however that ends.

    Raises:
        StoppedError: ``stopped`` was set while waiting.
    """
    if root in _held:
        yield
        return
    path = root / ".scratch" / "reproduction.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        _wait_for(handle, path.with_suffix(".json"), say, stopped or threading.Event())
        write_json(path.with_suffix(".json"), {"pid": os.getpid(), "since": time.strftime("%F %T")})
        _held.add(root)
        try:
            yield
        finally:
            _held.discard(root)


def _wait_for(handle: IO[str], note: Path, say: Callable[[str], None], stopped: threading.Event) -> None:
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                told = True
                who = json.loads(note.read_text()) if note.is_file() else {"pid": "?", "since": "?"}
                say(f"another reproduction is at work here since {who['since']} (process {who['pid']}): waiting for it")
            if stopped.wait(POLL_SECONDS):
                raise StoppedError("stopped while waiting for another reproduction") from None


@contextmanager
def beside_others(path: Path, if_first: Callable[[], None]) -> Iterator[None]:
    """Be one of several that may work at once; ``if_first`` is called, before any other begins, where none does yet.

    The place ends with its process, however that ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if_first()
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield


@dataclass(frozen=True)
class Blocked:
    """A path that DVC would not touch, and the processes that are at work on it."""

    path: str
    commands: dict[int, str]

    @classmethod
    def told(cls, lines: Sequence[str]) -> Blocked | None:
        """What DVC's last lines say of it, None when it was not that."""
        busy = next((match for line in lines if (match := _BUSY.search(line))), None)
        if busy is None:
            return None
        found = [match for line in lines if (match := _BLOCKER.search(line))]
        return cls(busy["path"], {int(match["pid"]): match["command"] for match in found})

    def __str__(self) -> str:
        who = "; ".join(f"process {pid} ({command})" for pid, command in self.commands.items())
        return f"waiting for {self.path}, which is in use by {who}"

    def lasts(self, root: Path) -> bool:
        """Whether one of them still works on the path, by DVC's own list."""
        path = root / ".dvc" / "tmp" / "rwlock"
        try:
            entries = json.loads(path.read_text())
        except (OSError, ValueError):  # DVC rewrites it in place; the next look sees it whole
            return path.exists()
        writers = [(where, [info]) for where, info in entries.get("write", {}).items()]
        for where, infos in [*writers, *entries.get("read", {}).items()]:
            if _overlap(where, self.path) and any(
                info["pid"] in self.commands and _runs(info["pid"]) for info in infos
            ):
                return True
        return False


def _overlap(one: str, other: str) -> bool:
    a, b = Path(one), Path(other)
    return a.is_relative_to(b) or b.is_relative_to(a)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def naming_lock_holders(root: Path, say: Callable[[str], None]) -> Iterator[None]:
    """While inside: whoever keeps DVC's lock for long is named, once; everything waits for it meanwhile."""
    done = threading.Event()

    def watch() -> None:
        holder, since = "", time.monotonic()
        while not done.wait(POLL_SECONDS):
            now = lock_holder(root)
            if now != holder:
                holder, since = now, time.monotonic()
            elif holder and time.monotonic() - since > PATIENCE_SECONDS:
                say(f"DVC's lock is held for {PATIENCE_SECONDS:.0f} s by process {holder}: waiting for it")
                since = float("inf")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def mend_list(root: Path) -> None:
    """Remove DVC's list of paths in use where it is half-written, for then no ``dvc`` would run again.

    DVC rewrites it in place, under a lock of its own. One that is killed meanwhile leaves it so.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    if _is_whole(path):
        return
    from dvc.lock import make_lock

    with make_lock(os.fspath(path.with_name("rwlock.lock"))):  # nobody is writing it now
        if not _is_whole(path):
            path.unlink()


def _is_whole(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def lock_holder(root: Path) -> str:
    """Number and command of the process that holds DVC's lock; empty when nobody does."""
    path = root / ".dvc" / "tmp" / "lock"
    try:
        with path.open("r") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = handle.read().strip()
                return f"{pid} ({_command(pid)})" if pid.isdigit() else "?"
    except OSError:
        pass
    return ""


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "of an unknown command"
