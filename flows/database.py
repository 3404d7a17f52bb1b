"""Prefect's database as its migrations leave it: made once for an environment, and copied where one begins.

    python -m flows.database          make it (`make setup` does)

A server that finds no database spends seven processor-seconds on migrating an empty one, in every clone anew.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from speech.storage.files import atomic_path


def template() -> Path:
    """Where this environment keeps it; another release of Prefect has another."""
    return Path(sys.prefix) / "share" / "respeak" / f"prefect-{version('prefect')}.db"


def make_template() -> None:
    """Let Prefect migrate an empty database to its newest layout."""
    with atomic_path(template()) as path:
        environment = os.environ | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{path}"}
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)


def begin(path: Path) -> bool:
    """See that a project that has no database yet begins with a copy; without a template Prefect makes its own.

    Returns:
        Whether the database has the newest layout: a server need not look into its migrations, a second of work.
    """
    if not template().is_file():
        return False
    if not path.exists():
        with atomic_path(path) as copy:
            shutil.copyfile(template(), copy)
    return layout(path) == layout(template())


def layout(path: Path) -> str:
    """The migration that a database has last seen; empty where it has seen none.

    Read as a file that nobody writes, which leaves none of SQLite's own files beside it.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as database:
        try:
            return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])
        except (sqlite3.Error, TypeError):
            return ""


if __name__ == "__main__":
    make_template()
