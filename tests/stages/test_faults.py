"""How a stage ends when the machine gives out, and when its code or its user is to blame: real processes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speech.storage.files import atomic_path
from stages.runtime.faults import EXHAUSTED, LOST, exhausted
from tests.small_disk import small_disk

ROOT = Path(__file__).parents[2]


def run_stage(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    """A stage whose work is ``body``, with the project's own parameters."""
    code = f"""
import errno, os, resource, sys
import stages.runtime.faults as faults
from stages.params.runtime import Common
from stages.runtime.stage import stage_main
def run(stage):
    {body}
stage_main("f0_stats", run, Common)
"""
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RESPEAK_TRACKING": "local"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("raise faults.LostError('a.parquet: gone')", LOST, "error: a.parquet: gone"),
        ("raise OSError(errno.ENOSPC, 'No space left on device', 'out/a.parquet')", EXHAUSTED, "the disk is full"),
        (
            "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30)); bytearray(2**34)",
            EXHAUSTED,
            "out of memory (MemoryError)",
        ),
        ("raise KeyError('a bug')", 1, "Traceback"),
    ],
)
def test_exit_statuses(tmp_path: Path, body: str, status: int, words: str) -> None:
    done = run_stage(tmp_path, body)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert ("Traceback" in done.stderr) == (status == 1)
    assert '"status": "FAILED"' in next((tmp_path / ".scratch/runs").glob("*.jsonl")).read_text()


def test_a_full_disk_is_named_whoever_met_it_first() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/nowhere/at/all.parquet")
        except OSError as error:
            raise RuntimeError("could not write") from error
    except RuntimeError as error:
        said = exhausted(error) or ""
    assert said.startswith("/nowhere/at/all.parquet: the disk is full;")
    assert exhausted(OSError(errno.ENOENT, "No such file")) is None
    assert exhausted(KeyError("x")) is None


def test_torch_says_out_of_memory_in_its_own_words() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**45)
    assert (exhausted(caught.value) or "").startswith("out of memory (")


def test_a_full_disk_as_each_writer_tells_it(tmp_path: Path) -> None:
    """On a file system of one MiB: whichever library writes, the stage says that the disk is full, and where."""
    import numpy as np
    import pyarrow
    import pyarrow.parquet
    import torch
    from safetensors.torch import save_file

    big = torch.zeros(2**20)
    (tmp_path / "big.bin").write_bytes(bytes(2**22))
    table = pyarrow.table({"x": np.random.default_rng(0).random(2**20)})
    writers = {
        "last.ckpt": lambda path: torch.save(big, path),
        "model.safetensors": lambda path: save_file({"x": big}, path),
        "part.parquet": lambda path: pyarrow.parquet.write_table(table, path),
        "copy.bin": lambda path: shutil.copy2(tmp_path / "big.bin", path),
        "history.csv": lambda path: path.write_text("x" * 2**22),
    }
    with small_disk(tmp_path / "small") as small:
        for name, write in writers.items():
            with pytest.raises(Exception) as caught, atomic_path(small / name) as path:
                write(path)
            assert "the disk is full" in (exhausted(caught.value) or ""), name
            assert not list(small.iterdir())
