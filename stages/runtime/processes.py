"""A name for a process that survives its number being given to another one (Linux's /proc)."""

from __future__ import annotations

import os
from pathlib import Path

Fields = list[str]


def process_key(pid: int) -> str | None:
    """Return ``<pid>-<start time in ticks since boot>``; None when there is no such process, or no /proc to ask."""
    fields = _stat(pid)
    return f"{pid}-{fields[19]}" if fields else None


def is_alive(key: str) -> bool:
    """Return whether the process of a ``process_key``, or of a name that begins with one, runs (a zombie does not)."""
    number, _, rest = key.partition("-")
    pid, started = int(number), rest.partition("-")[0]
    fields = _stat(pid)
    if fields is None and not Path("/proc/self/stat").exists():
        return _answers_signals(pid)
    return fields is not None and fields[0] != "Z" and fields[19] == started


def find_dvc() -> str | None:
    """Return the key of the nearest ``dvc`` process among this one's ancestors, None under no DVC."""
    pid = os.getppid()
    while pid > 1:
        if _runs_dvc(pid):
            return process_key(pid)
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0
    return None


def _runs_dvc(pid: int) -> bool:
    """Return whether a process is ``dvc repro``, ``python /…/bin/dvc repro`` or ``python -m dvc repro``."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    shells = {"sh", "bash", "dash", "zsh", "fish"}
    return Path(words[0]).name not in shells and any(Path(word).name == "dvc" for word in words[:3])


def _stat(pid: int) -> Fields | None:
    """Read the fields of /proc/<pid>/stat after the program's name, which may itself hold blanks and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _answers_signals(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
