"""``mlflow models serve``: a recording goes to a server over HTTP, and a recording comes back."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from respeak import System
from speech.intonation import Intonation
from stages.tracking.logged_models import save_pyfunc
from stages.tracking.tracker import BUNDLE, BUNDLE_ROOMS, CODE
from tests.pipeline.repositories import clean_environment
from tests.respeak.tiny import make_bundle

# Loopback is no business of a proxy's.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module")
def model(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle as the collector saves one."""
    folder = tmp_path_factory.mktemp("model")
    make_bundle(folder / BUNDLE)
    for room in BUNDLE_ROOMS:
        shutil.copytree(project / room, folder / CODE / room, ignore=shutil.ignore_patterns("__pycache__"))
    save_pyfunc(folder / "saved", folder)
    return folder


@pytest.fixture(scope="module")
def address(model: Path) -> Iterator[str]:
    """Of a server that is to use the model's own code."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    mlflow = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--host", "127.0.0.1"]
    environment = clean_environment(model) | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (model / "log").open("wb") as log:
        server = subprocess.Popen(
            [*mlflow, "--port", port, "--model-uri", str(model / "saved")],
            cwd=model, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{port}/ping", server, model / "log")
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            OPENER.open(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def ask(address: str, audio: bytes, **params: object) -> dict:
    body = {"dataframe_records": [{"audio": base64.b64encode(audio).decode()}], "params": params}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    try:
        with OPENER.open(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        assert error.code == 400
        return json.load(error)


def test_a_recording_comes_back_in_another_voice(model: Path, address: str, shared: Path) -> None:
    path = next((shared / "data/free-spoken-digit-dataset/recordings").glob("7_theo_*.wav"))
    answer = ask(address, path.read_bytes(), target="nicolas", semitones=2.0)
    made, rate = soundfile.read(io.BytesIO(base64.b64decode(answer["predictions"][0]["audio"])), dtype="float32")
    wave, source_rate = soundfile.read(path, dtype="float32")
    expected = System.load(model / BUNDLE, "cpu").convert(wave, source_rate, "nicolas", intonation=Intonation(2.0))
    assert rate == 16000
    np.testing.assert_allclose(made, np.clip(expected, -1, 1), atol=2 / 32768)
    # Mistakes are answered, and the next caller is served.
    trace = ask(address, b"no recording", target="nicolas")["stack_trace"]
    assert "AudioError: row 0: the recording" in trace
    assert str(model / "saved/code/respeak/pyfunc.py") in trace
    assert "it has jackson, nicolas, theo" in ask(address, path.read_bytes(), target="nobody")["stack_trace"]
    assert ask(address, path.read_bytes(), target="nicolas", semitones=2.0) == answer
