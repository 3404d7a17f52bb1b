"""Others at work in this project: a reproduction, or somebody's own ``dvc``. One waits, and is told for whom."""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from speech.storage.files import write_json

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 10.0  # DVC holds its lock for moments; longer than this is worth a line
RETRY_SECONDS = 15.0
_BUSY = re.compile(r"'(?P<path>[^']+)' is busy, it is being blocked by")
_BLOCKER = re.compile(r"^\s*\(PID (?P<pid>\d+)\): (?P<command>.*)")


class StoppedError(Exception):
    """A request to end that came while waiting."""


@contextmanager
def alone(root: Path, log: Callable[[str], None], stopped: threading.Event | None = None) -> Iterator[None]:
    """Hold the project against other reproductions; wait for one that is at work, and log that.

    Two of them would compose ``params.yaml`` under each other's stages. A process that holds it already, as the
    command line does around the flow, goes on. The lock ends with its process, however that ends.

    Raises:
        StoppedError: ``stopped`` was set while waiting.
    """
    path = root / ".scratch" / "reproduction.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    note, lock = path.with_suffix(".json"), FileLock(path, thread_local=False, is_singleton=True)
    told, stopped = False, stopped or threading.Event()
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            if not told:
                told, who = True, json.loads(note.read_text()) if note.is_file() else {"pid": "?", "since": "?"}
                log(f"another reproduction is at work here since {who['since']} (process {who['pid']}): waiting for it")
            if stopped.wait(POLL_SECONDS):
                raise StoppedError("stopped while waiting for another reproduction") from None
    try:
        write_json(note, {"pid": os.getpid(), "since": time.strftime("%F %T")})
        yield
    finally:
        lock.release()


def in_use(lines: Sequence[str]) -> tuple[str, list[int]] | None:
    """Return what DVC's last lines state of a path that others are at work on: a sentence, and their process numbers.

    None when that was not what ended it.
    """
    busy = next((match for line in lines if (match := _BUSY.search(line))), None)
    if busy is None:
        return None
    found = [match for line in lines if (match := _BLOCKER.search(line))]
    who = "; ".join(f"process {match['pid']} ({match['command']})" for match in found)
    return f"waiting for {busy['path']}, which is in use by {who}", [int(match["pid"]) for match in found]


def await_users(pids: Sequence[int], stopped: threading.Event) -> None:
    """Wait until one of the processes has ended, or for a while: a ``dvc`` that goes on may be done with the path."""
    deadline = time.monotonic() + RETRY_SECONDS
    while all(map(runs, pids)) and time.monotonic() < deadline and not stopped.wait(POLL_SECONDS):
        pass


def runs(pid: int) -> bool:
    """Return whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def naming_lock_holders(
    root: Path, log: Callable[[str], None], ours: Callable[[], Collection[int]] = tuple
) -> Iterator[None]:
    """Name whoever keeps DVC's lock for long, once, while inside; everything waits for it meanwhile.

    ``ours`` are processes that nobody wants named: the stages' own ``dvc``, on a busy machine.
    """
    done = threading.Event()

    def watch() -> None:
        holder, since = "", time.monotonic()
        while not done.wait(POLL_SECONDS):
            now = lock_holder(root)
            if now != holder:
                holder, since = now, time.monotonic()
            elif holder and time.monotonic() - since > PATIENCE_SECONDS and _pid(holder) not in {os.getpid(), *ours()}:
                log(f"DVC's lock is held for {PATIENCE_SECONDS:.0f} s by process {holder}: waiting for it")
                since = float("inf")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _pid(holder: str) -> int:
    number = holder.partition(" ")[0]
    return int(number) if number.isdigit() else 0


def lock_holder(root: Path) -> str:
    """Return number and command of the process that holds DVC's lock; empty when nobody does."""
    try:
        with (root / ".dvc" / "tmp" / "lock").open("r") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return ""
            except BlockingIOError:
                pid = handle.read().strip()
    except OSError:
        return ""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        return f"{pid} ({words.decode(errors='replace').strip()})"
    except OSError:
        return f"{pid} (of an unknown command)"


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
