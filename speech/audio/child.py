"""A helper process that answers requests over a pipe, for native code that may crash, hang or keep hidden state.

Both ends exchange frames: a line of JSON, then as many raw bytes as its ``bytes`` states. Plain pipes rather than
``multiprocessing``: the helper does not re-import the program that started it, starts in a fraction of a second, and
may be started from daemonic workers too.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

Answer = tuple[dict[str, Any], bytes]


class ChildDiedError(Exception):
    """The helper's end without an answer: ``reason`` tells how, ``crashed`` whether native code brought it down."""

    def __init__(self, reason: str, crashed: bool) -> None:
        super().__init__(reason)
        self.reason, self.crashed = reason, crashed


class Child:
    """A helper process running ``function`` of ``module``, started at the first question and again after a death."""

    def __init__(self, module: str, function: str, timeout_seconds: float = 120.0) -> None:
        self._code = f"from {module} import {function}; {function}()"
        self._timeout = timeout_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def ask(self, request: dict[str, Any]) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            ChildDiedError: the helper crashed, failed or took too long; the next question starts another.
        """
        process = self._start()
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            if not select.select([process.stdout], [], [], self._timeout)[0]:
                process.kill()
                self.close()
                raise ChildDiedError(f"no answer within {self._timeout:g} s", crashed=True)
            line = process.stdout.readline()
            if line.endswith(b"\n"):
                header = json.loads(line)
                payload = process.stdout.read(header["bytes"])
                if len(payload) == header["bytes"]:
                    return header, payload
        raise self._death(process)

    def close(self) -> None:
        """End the helper, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def pid(self) -> int:
        """Process id of the running helper (starts one if there is none)."""
        return self._start().pid

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            root = str(Path(__file__).resolve().parents[2])
            path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
            self._process = subprocess.Popen(
                [sys.executable, "-c", self._code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
            )
        return self._process

    def _death(self, process: subprocess.Popen[bytes]) -> ChildDiedError:
        self.close()
        code = process.returncode
        if code < 0:
            return ChildDiedError(f"crashed with signal {-code}", crashed=True)
        return ChildDiedError(f"ended with status {code}", crashed=False)


def serve(answer: Callable[[dict[str, Any]], Answer]) -> None:
    """Answer requests from standard input until it closes, on the helper's side."""
    # What native libraries print must not get between the frames.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        for line in sys.stdin.buffer:
            send(out, *answer(json.loads(line)))


def send(out: BinaryIO, header: dict[str, Any], payload: bytes) -> None:
    """Write one frame."""
    out.write(json.dumps({**header, "bytes": len(payload)}).encode() + b"\n" + payload)
    out.flush()
