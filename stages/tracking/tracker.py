"""The report of a stage on its run: parameters, metrics, pictures, how it ended.

A stage only writes a journal, ``.scratch/runs/<run>.jsonl``, one event a line. Another process, the collector
(``stages.tracking.collector``), replays journals into MLflow while the stages run. Importing MLflow costs seconds of
processor time, more than many a stage; its sqlite file has one writer this way; and where MLflow is not installed or
does not answer, the journal keeps everything until a later collector reaches it.

Runs nest: every stage of one *session* (one ``dvc repro``, one reproduction) is a child of the session's run. The
session is named by ``RESPEAK_SESSION``, or else is the ``dvc`` process that runs the stage; ``RESPEAK_PARENT_RUN``
names an MLflow run of the caller's own as parent instead; a stage run by hand has no parent. (An exported
``MLFLOW_RUN_ID`` would make every child overwrite its parent, so it is dropped.) A session's run may lie within
another session's: that of an experiment within its sweep's.

``RESPEAK_TRACKING=local`` keeps journals and starts no collector.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from stages.runtime.processes import find_dvc, process_key

SESSION, PARENT, MODE = "RESPEAK_SESSION", "RESPEAK_PARENT_RUN", "RESPEAK_TRACKING"
RUNS = Path(".scratch") / "runs"
PROJECT = Path(__file__).resolve().parents[2]
# Of a logged model: the folder among a run's files, and in each the bundle and the code that loads it.
MODELS, BUNDLE, CODE = "models", "bundle", "code"
LOCK_SECONDS = 1.0  # MLflow's own writes take less
BUNDLE_ROOMS = ("speech", "models", "respeak")


class Tracker:
    """The journal of one run. No method raises: a run is worth more than its record."""

    def __init__(self, journal: Path, header: Mapping[str, Any]) -> None:
        self.path = journal
        self.files = journal.with_suffix(".files")
        self._lock = threading.Lock()
        self._closed = self._broken = False
        self._write(event="open", **header)

    @classmethod
    def open(
        cls, stage: str, variant: str | None = None, params: Mapping[str, Any] | None = None, scale: str = ""
    ) -> Tracker:
        """Start the run of a stage, from the project's root; warn once, in one line, when MLflow is out of reach."""
        os.environ.pop("MLFLOW_RUN_ID", None)
        root, own = main_root(), process_key(os.getpid()) or str(os.getpid())
        session = os.environ.get(SESSION) or find_dvc()
        name = f"{stage}@{variant}" if variant else stage
        journal = root / RUNS / f"{time.time_ns()}-{name}-{os.getpid()}.jsonl"
        tags = {**run_tags(scale), "stage": stage, "variant": variant or "", "mlflow.source.name": f"stages.{stage}"}
        parent = os.environ.get(PARENT)
        tracker = cls(journal, _header(name, tags, session=session, parent=parent, process=own))
        tracker.log_params(params or {})
        if SESSION not in os.environ:
            announce(root, session or own)
        return tracker

    @classmethod
    def open_session(
        cls, name: str, scale: str, session: str, within: str | None = None, tags: Mapping[str, str] | None = None
    ) -> Tracker:
        """Start the run that is the parent of every stage with ``RESPEAK_SESSION=session``.

        ``within`` is the session whose run is its own parent in turn; ``tags`` are added to the usual ones.
        """
        journal = main_root() / RUNS / f"{time.time_ns()}-{name}-{os.getpid()}.jsonl"
        own = process_key(os.getpid()) or str(os.getpid())
        all_tags = {**run_tags(scale), **(tags or {})}
        return cls(journal, _header(name, all_tags, session=session, within=within, process=own, is_parent=True))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers of this moment; with ``step``, points of a series."""
        values = {name: float(value) for name, value in metrics.items() if value is not None}
        self._write(event="metrics", step=step, values=values)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; nested mappings become ``outer.inner`` names."""
        self._write(event="params", values={name: str(value) for name, value in flatten(params).items()})

    def log_figure(self, name: str, fig: Any) -> None:
        """Log a matplotlib figure, as the artifact ``name`` (``….png``)."""
        if target := self._place(name):
            fig.savefig(target, bbox_inches="tight")
            self._write(event="artifact", name=name)

    def log_text(self, name: str, text: str) -> None:
        """Log a text, as the artifact ``name``."""
        if target := self._place(name):
            target.write_text(text, encoding="utf-8")
            self._write(event="artifact", name=name)

    def log_artifact(self, path: Path | str) -> None:
        """Log a finished file or folder by its own name: linked, so that it costs no room and outlives the original."""
        path = Path(path)
        target = self._place(path.name)
        if target is None or target.exists():
            return
        try:
            if path.is_dir():
                shutil.copytree(path, target, copy_function=_link)
            else:
                _link(str(path), str(target))
        except OSError as error:
            self._give_up(error)
            return
        self._write(event="artifact", name=path.name)

    def log_audio(self, name: str, wave: Any) -> None:
        """Log a recording, ``(T,) float32 in [-1, 1] at 16 kHz``, as the artifact ``audio/<name>.wav``."""
        from speech.audio.waveforms import encode_audio

        artifact = f"audio/{name.replace('/', '_')}.wav"
        if target := self._place(artifact):
            target.write_bytes(encode_audio(wave, "wav"))
            self._write(event="artifact", name=artifact)

    def log_inputs(self, datasets: Sequence[Mapping[str, Any]], models: Sequence[str]) -> None:
        """Log a run's inputs: fields of :class:`stages.tracking.lineage.Dataset`, digests of judged bundles."""
        self._write(event="inputs", datasets=list(datasets), models=list(models))

    def log_model(self, bundle: Path) -> None:
        """Log a finished system bundle and, as it now stands, the code that loads it: a model of the bundle's name."""
        target = self._place(f"{MODELS}/{bundle.name}/{BUNDLE}")
        if target is None or target.exists():
            return
        try:
            shutil.copytree(bundle, target, copy_function=_link)
            for room in BUNDLE_ROOMS:
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(PROJECT / room, target.with_name(CODE) / room, ignore=ignored)
        except OSError as error:
            self._give_up(error)
            return
        self._write(event="model", name=bundle.name)

    def close(self, status: str = "FINISHED") -> None:
        """End the run as ``FINISHED``, ``FAILED`` or ``KILLED``; the first call counts."""
        if not self._closed:
            self._closed = True
            self._write(event="close", status=status)

    def _place(self, name: str) -> Path | None:
        target = self.files / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._give_up(error)
            return None
        return target

    def _write(self, **event: Any) -> None:
        if self._closed and event["event"] != "close":  # the collector may have taken the journal away
            return
        line = json.dumps({**event, "time": int(time.time() * 1000)}) + "\n"
        with self._lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as handle:
                    handle.write(line)
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if not self._broken:
            self._broken = True
            print(f"tracking: {self.path}: {error.strerror}; this run's metrics are not all kept", file=sys.stderr)


def announce(root: Path, session: str) -> subprocess.Popen[bytes] | None:
    """See that a collector follows ``session``, or print in one line why none does."""
    if os.environ.get(MODE) == "local":
        return None
    if reason := out_of_reach():
        print(f"MLflow: {reason}; the run goes on, its metrics are kept in {root / RUNS}", file=sys.stderr, flush=True)
        return None
    if reason := locked_database(root):
        print(f"MLflow: {reason}; the run goes on, its metrics wait in {root / RUNS}", file=sys.stderr, flush=True)
    log = root / ".scratch" / "mlflow" / "collector.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as handle:
            return subprocess.Popen(
                [sys.executable, "-m", "stages.tracking.collector", "--root", str(root), "--follow", session],
                cwd=main_root(PROJECT),  # an experiment's temporary copy ends before its collector does
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
                start_new_session=True,  # Ctrl-C ends the stage; the collector still has its last lines to bring home
            )
    except OSError as error:
        print(f"MLflow: no collector ({error.strerror}); metrics are kept in {root / RUNS}", file=sys.stderr)
        return None


def out_of_reach() -> str:
    """Return why MLflow cannot be used, as far as a second and no import can tell; empty when nothing is against it."""
    if importlib.util.find_spec("mlflow") is None:
        return "not installed"
    address = urllib.parse.urlsplit(os.environ.get("MLFLOW_TRACKING_URI", ""))
    host = address.hostname or "localhost"
    proxied = address.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)
    if address.scheme not in ("http", "https") or proxied:
        return ""
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), timeout=2.0).close()
    except OSError as error:
        return f"{address.geturl()} does not answer ({error.strerror or error})"
    return ""


def locked_database(root: Path) -> str:
    """Return why MLflow's own file cannot be written at this moment; empty when it can, or when a server is used."""
    path = root / "mlflow.db"
    if "MLFLOW_TRACKING_URI" in os.environ or not path.is_file():
        return ""
    try:
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        return f"{path}: {'locked by another program' if 'locked' in str(error) else error}"
    return ""


def main_root(here: Path | None = None) -> Path:
    """Return the project's root; for a temporary copy that DVC makes for an experiment, the root it was copied from."""
    here = (here or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if folder.name == ".dvc" and "exps" in here.relative_to(folder).parts[:2]:
            return folder.parent
    return here


def run_tags(scale: str) -> dict[str, str]:
    """Return what tells runs apart later: scale, commit, DVC's names for stage and experiment, the tree they ran in.

    ``dvc_rev`` is the commit that an experiment begins from, ``dvc_lock`` the MD5 of ``dvc.lock`` as it now stands.
    """
    names = ("DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")
    tags = {name: os.environ[name] for name in names if name in os.environ}
    commit = git_commit()
    tags |= {"dvc_rev": tags.get("DVC_EXP_BASELINE_REV", commit), "dvc_lock": lock_digest()}
    known = {"mlflow.source.git.commit": commit, "mlflow.source.type": "LOCAL"} if commit else {}
    return {**tags, **known, "scale": scale, "commit": commit, "tree": str(Path.cwd())}


def lock_digest() -> str:
    """Return the MD5 of ``dvc.lock``, empty where there is none."""
    lock = Path("dvc.lock")
    return hashlib.md5(lock.read_bytes(), usedforsecurity=False).hexdigest() if lock.is_file() else ""


def git_commit() -> str:
    """Return the commit the working tree stands on, empty outside git or before the first commit."""
    try:
        command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one level of ``outer.inner`` names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return flat


def is_number(value: Any) -> bool:
    """Return whether a value can be a metric: a finite number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _header(name: str, tags: Mapping[str, str], **fields: Any) -> dict[str, Any]:
    return {"name": name, "tags": dict(tags), "host": socket.gethostname(), **fields}


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
