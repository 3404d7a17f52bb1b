"""The key of work in progress: what changes it, what does not, and a lock that another process is writing."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import yaml

from speech.storage.files import write_text
from stages.runtime import declared
from stages.runtime.declared import declared_params, read_lock
from stages.runtime.fingerprint import code_of, content, digest_of_code, fingerprint

SOURCE = "def double(x):\n    return 2 * x\n"
OUTS = ("data/tiny/audio", "data/tiny/features", "encoder")


def test_the_key_follows_content_parameters_and_code(tmp_path: Path) -> None:
    write_text(tmp_path / "in/a.txt", "1")
    base = fingerprint([tmp_path / "in"], {"k": 1}, {"stages/kmeans.py": "1"})
    assert base == fingerprint([tmp_path / "in"], {"k": 1}, {"stages/kmeans.py": "1"})
    assert base != fingerprint([tmp_path / "in"], {"k": 2}, {"stages/kmeans.py": "1"})
    assert base != fingerprint([tmp_path / "in"], {"k": 1}, {"stages/kmeans.py": "2"})
    write_text(tmp_path / "in/a.txt", "2")
    assert base != fingerprint([tmp_path / "in"], {"k": 1}, {"stages/kmeans.py": "1"})


@pytest.mark.parametrize(
    ("changed", "is_same"),
    [
        ("# Twice.\ndef double(x):  # of a number\n    return (2 * x)\n", True),
        ('"""Sums."""\n\ndef double(x):\n    """Return twice x."""\n    return 2*x\n', True),
        ("def double(x):\n    return 3 * x\n", False),
        ("def double(x, y=1):\n    return 2 * x\n", False),
        ("def double(x):\n    x\n    return 2 * x\n", False),
    ],
)
def test_comments_docstrings_and_layout_are_no_code(changed: str, is_same: bool) -> None:
    assert (digest_of_code(changed) == digest_of_code(SOURCE)) is is_same


def test_a_documented_function_without_a_body_is_code() -> None:
    assert digest_of_code('def nothing():\n    """Return nothing."""\n') != digest_of_code(SOURCE)


def test_a_stage_is_made_of_the_code_that_the_graph_names() -> None:
    code = code_of("f0", "demo", {"corpora": {"demo": {}}})
    assert {"stages/f0.py", "speech/pitch.py", "speech/storage/shards.py"} <= code.keys()
    assert not [name for name in code if name.startswith(("stages/runtime", "models"))]


def test_a_stage_depends_on_the_parameters_that_dvc_watches_and_no_others() -> None:
    settings = {
        "seed": 1,
        "corpora": {"mine": {"root": "a"}, "other": {"root": "b"}},
        "runtime": {"max_reject_fraction": 0.1, "workers": 2},
        "tables": {"t": 1},
    }
    assert declared_params("corpus", "mine", settings) == {
        "seed": 1,
        "corpora.mine": {"root": "a"},
        "runtime.max_reject_fraction": 0.1,
    }


def test_bytes_are_hashed_as_dvc_hashes_them(tmp_path: Path) -> None:
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    for name in ("b.txt", "a/c.txt", "a-d.txt", "a/B.txt"):
        write_text(tmp_path / "out" / name, name)
    cache = HashFileDB(LocalFileSystem(), str(tmp_path / "cache"))
    for path in (tmp_path / "out", tmp_path / "out/b.txt"):
        _, _, made = build(cache, str(path), LocalFileSystem(), "md5")
        assert content(path) == made.hash_info.value


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two inputs of a stage that DVC runs, and their lock."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "units@tiny")
    found = [Path(out) for out in OUTS]
    for path in found:
        write_text(path / "part-00000.parquet", path.name)
    outs = [{"path": str(path), "hash": "md5", "md5": content(path), "size": 7} for path in found]
    stages = {
        f"made@{out['path']}": {"cmd": "true", "deps": [{"path": "x", "md5": "y"}], "outs": [out]} for out in outs
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    return found


def test_a_lock_that_is_being_written_is_not_nothing_recorded(
    inputs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off anywhere, as DVC leaves it for a moment: the reader waits for the rest, and the key is the same."""
    whole = Path("dvc.lock").read_text()
    recorded, expected = read_lock(OUTS), fingerprint(inputs, {}, {})
    for cut in (0, 15, len(whole) // 2, whole.rindex("md5: "), len(whole) - 3, whole.rindex("  made@")):
        Path("dvc.lock").write_text(whole[:cut])
        writer = threading.Timer(0.2, Path("dvc.lock").write_text, [whole])
        writer.start()
        assert read_lock(OUTS) == recorded, cut
        writer.join()
    # Nor does it matter should the rest never come: what is not recorded is hashed, to the same digests.
    monkeypatch.setattr(declared, "PATIENCE_SECONDS", 0.1)
    Path("dvc.lock").write_text(whole[: whole.rindex("md5: ") + 9])
    assert fingerprint(inputs, {}, {}) == expected


def test_what_was_never_recorded_is_waited_for_under_dvc_alone(
    inputs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    assert len(read_lock(["speech/pitch.py", "evaluate", "encoder"])) == len(OUTS)
    monkeypatch.delenv("DVC_STAGE")
    assert len(read_lock(["kmeans"])) == len(OUTS)
    assert time.monotonic() - began < 1
    monkeypatch.setenv("DVC_STAGE", "units@tiny")
    monkeypatch.setattr(declared, "PATIENCE_SECONDS", 0.2)
    assert len(read_lock(["kmeans"])) == len(OUTS)
    Path("dvc.lock").unlink()
    assert read_lock(["kmeans"]) == {}
