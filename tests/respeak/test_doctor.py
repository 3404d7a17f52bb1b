"""``respeak doctor``: it names what is there, and what is asked for and missing, with address and size."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from respeak import doctor
from respeak.cli import app


@pytest.fixture()
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESPEAK_CACHE", str(tmp_path / "cache"))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["respeak", "doctor"])
    with pytest.raises(SystemExit) as caught:
        app.main()
    output = capsys.readouterr()
    return int(caught.value.code or 0), output.out, output.err


def test_versions_devices_and_weights(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "cache").mkdir()
    (here / "cache" / "hubert_fairseq_base_ls960.pth").write_bytes(b"x")
    (here / "params.yaml").write_text("encoder: {weights: none}\nkmeans: {source: fit}\n")
    status, out, _ = run(monkeypatch, capsys)
    assert status == 0
    assert f"torch {torch.__version__}" in out and f"pyarrow {version('pyarrow')}" in out
    assert f"HUBERT_BASE is at {here}/cache/hubert_fairseq_base_ls960.pth" in out
    missing = "HUBERT_LARGE is missing (https://download.pytorch.org/torchaudio/models/hubert_fairseq_large_ll60k.pth"
    assert f"{missing}, 1.26 GB)" in out
    assert ("no GPU that torch can use" in out) == (not torch.cuda.is_available())


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("encoder: {weights: file, path: gone.pt}", "! encoder:  encoder.path: gone.pt is missing"),
        ("encoder: {weights: HUBERT_BASE, sha256: ab}", "HUBERT_BASE is missing (https://download.pytorch.org/"),
        ("encoder: {weights: HUBERT_SMALL}", "'HUBERT_SMALL' is no public name"),
        ("kmeans: {source: SOFT_VC_KMEANS100}", "309 kB); set kmeans.sha256"),
        ("kmeans: [", "params.yaml: not valid YAML"),
    ],
)
def test_what_params_ask_for_and_is_missing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], params: str, said: str
) -> None:
    (here / "params.yaml").write_text(params)
    status, out, err = run(monkeypatch, capsys)
    assert status == 1 and "1 to be mended" in err
    assert said in next(line for line in out.splitlines() if line.startswith("! "))


def test_a_missing_package_is_named_by_its_use(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("dvc", "soxr") else known(name))
    found = {line: well for topic, well, line in doctor.examine(Path("none.yaml")) if topic == "package"}
    assert found["dvc is not installed; needed for the graph"]
    assert not found["soxr is missing: nothing works without; run make"]


def test_the_command_line_is_a_module_too() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "respeak.cli.app", "--help"], capture_output=True, text=True, check=True
    )
    assert "resynthesize" in found.stdout
