"""Files appear whole or not at all, and never in the place of a folder; names in a message stay few."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech.errors import UserError, some_of
from speech.storage.files import atomic_path, write_text


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "first")
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "a.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "units.txt").mkdir()
    with pytest.raises(UserError, match=r"units\.txt: is a folder; give the name of a file"):
        write_text(tmp_path / "units.txt", "1 2 3")
    assert not list((tmp_path / "units.txt").iterdir())


def test_of_many_names_a_message_gives_the_first() -> None:
    assert some_of(["a", "b"]) == "a, b"
    assert some_of([str(n) for n in range(15)], 3) == "0, 1, 2 and 12 more"
