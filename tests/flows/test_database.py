"""Prefect's database, ready to copy."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from flows import database


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    return tmp_path


def test_a_project_begins_with_all_migrations_done(environment: Path) -> None:
    path = environment / "project" / "prefect.db"
    assert not database.begin(path)
    assert not path.exists()  # nothing to copy: Prefect makes its own
    database.make_template()
    assert database.begin(path)
    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
        versions = connection.execute("select version_num from alembic_version").fetchall()
    assert {"flow_run", "task_run", "artifact"} <= tables
    assert len(versions) == 1
    assert sorted(child.name for child in database.template().parent.iterdir()) == [database.template().name]


def test_a_database_that_is_there_is_left_alone(environment: Path) -> None:
    database.template().parent.mkdir(parents=True)
    database.template().write_bytes(b"new")
    path = environment / "prefect.db"
    path.write_bytes(b"old")
    database.begin(path)
    assert path.read_bytes() == b"old"


def test_a_database_of_another_release_is_left_to_the_server_to_migrate(environment: Path) -> None:
    database.template().parent.mkdir(parents=True)
    path = environment / "prefect.db"
    for file, version in ((database.template(), "new"), (path, "old")):
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("create table alembic_version (version_num text)")
            connection.execute("insert into alembic_version values (?)", [version])
    assert not database.begin(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update alembic_version set version_num = 'new'")
    assert database.begin(path)
