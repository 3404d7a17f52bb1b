"""Prefect's database as its migrations leave it: made once for an environment, and copied where one begins.

    python -m flows.database          make it (`make setup` does)

A server that finds no database spends seven processor-seconds on migrating an empty one, in every clone anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from speech.files import atomic_path


def template() -> Path:
    """Where this environment keeps it; another release of Prefect has another."""
    return Path(sys.prefix) / "share" / "respeak" / f"prefect-{version('prefect')}.db"


def make_template() -> None:
    """Let Prefect migrate an empty database to its newest layout."""
    with atomic_path(template()) as path:
        environment = os.environ | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{path}"}
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)


def begin(path: Path) -> None:
    """See that a project that has no database yet begins with a copy; without a template Prefect makes its own."""
    if not path.exists() and template().is_file():
        with atomic_path(path) as copy:
            shutil.copyfile(template(), copy)


if __name__ == "__main__":
    make_template()
