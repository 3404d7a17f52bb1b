"""Prefect's server: the user's own, or one of the project's that lives as long as the program that needs it.

Prefect would start such a one by itself, but within reach of the terminal's Ctrl-C, which ends it before the flow can
say how it ended; and a killed flow would leave it behind.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.database import begin
from speech.errors import UserError

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.filters import FlowFilter

# Prefect's server costs seconds to start; nothing of these is of use to one that lives for a single flow.
IDLE_SERVICES = (
    "SCHEDULER",
    "LATE_RUNS",
    "FOREMAN",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "TRIGGERS",
    "CLEANUP_RECONCILER",
)
AT_WORK = ["RUNNING", "PENDING"]
DEAD = "its process ended without a word: it was killed, or the machine went down"
START_SECONDS = 300.0  # without flows.database, the first start makes the database
RECORD_SECONDS = 30.0
PAGE = 200  # the most that it tells at once
HEARTBEAT_SECONDS = 30  # a run says so often that it is alive; Prefect allows no less


@dataclass
class OwnServer:
    """The project's server: its address, its process, where it writes what goes wrong."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """End it; what it has been told is in its database."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def begin_server(root: Path) -> OwnServer | None:
    """Start the project's server, which imports for seconds before it answers: time to read the graph in.

    It keeps its records in ``.prefect/`` and ends with this process. None where ``PREFECT_API_URL`` names the user's.
    """
    _make_settings(root)
    if os.environ.get("PREFECT_API_URL"):
        return None
    settings = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in IDLE_SERVICES}
    database = root / ".prefect" / "prefect.db"
    if os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == _address(database) and begin(database):
        settings["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] = "false"
    server = _start(root / ".prefect" / "server.log", settings)
    atexit.register(server.stop)
    return server


def prepare_prefect(root: Path, begun: OwnServer | None = None) -> bool:
    """See that Prefect has a server: the user's, else the project's, ``begun`` before or here.

    Returns:
        Whether the server is the project's own.

    Raises:
        UserError: the user's does not answer, or the project's does not start.
    """
    _make_settings(root)
    if users_server():
        if begun:
            begun.stop()
        return False
    server = begun or begin_server(root)
    assert server, "there is no PREFECT_API_URL, or it would be the user's"
    # Imported here, when its settings are made.
    from prefect.context import refresh_global_settings_context

    os.environ["PREFECT_API_URL"] = server.url
    refresh_global_settings_context()
    _await_health(server.url, START_SECONDS, f"{server.log}: Prefect's server did not start", server.process)
    return True


def _make_settings(root: Path) -> None:
    state = root / ".prefect"
    state.mkdir(exist_ok=True)
    settings = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _address(state / "prefect.db"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(asctime)s %(task_run_name)-28s %(message)s",
        "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(asctime)s %(flow_name)-28s %(message)s",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def _address(database: Path) -> str:
    return f"sqlite+aiosqlite:///{database}"


def users_server() -> str:
    """The address of the user's own server, by a variable or a profile of theirs; empty where they have none.

    Raises:
        UserError: nobody answers there.
    """
    from prefect.settings import get_current_settings

    if url := get_current_settings().api.url or "":
        _await_health(url, 10.0, f"{url}: no Prefect server answers there; start it, or unset PREFECT_API_URL")
    return url


def crash_dead_runs(flow: str) -> None:
    """Say of every run of ``flow`` that the server believes to be running that it has crashed.

    For whoever knows that none is running: the project's own server was gone when the run's process was killed, so
    nobody else will say so. A deployment's runs are left to its worker, and to ``flows.deployments``' watch.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        ours = FlowRunFilter.model_validate({"state": {"type": {"any_": AT_WORK}}})
        for run in client.read_flow_runs(flow_filter=_named(flow), flow_run_filter=ours):
            if not run.deployment_id:
                client.set_flow_run_state(run.id, Crashed(message=DEAD), force=True)
    crash_left_tasks(flow)


def crash_left_tasks(flow: str) -> None:
    """Say of the tasks at work in runs of ``flow`` that have crashed that they have crashed too.

    Whoever found the run dead spoke of the run alone.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        crashed = FlowRunFilter.model_validate({"state": {"type": {"any_": ["CRASHED"]}}})
        working = TaskRunFilter.model_validate({"state": {"type": {"any_": AT_WORK}}})
        for task in client.read_task_runs(flow_filter=_named(flow), flow_run_filter=crashed, task_run_filter=working):
            client.set_task_run_state(task.id, Crashed(message=DEAD), force=True)


def await_records(flow_run: UUID, tasks: int) -> None:
    """Wait until the server has written how each of a run's ``tasks`` ended: it does so a while after it was told."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    ours, deadline = FlowRunFilter.model_validate({"id": {"any_": [flow_run]}}), time.monotonic() + RECORD_SECONDS
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            states = [run.state for run in client.read_task_runs(flow_run_filter=ours, limit=PAGE) if run.state]
            # A task whose upstream ended badly stays as it is.
            if sum(state.is_final() or state.name == "NotReady" for state in states) >= min(tasks, PAGE):
                return
            time.sleep(0.1)


def _named(flow: str) -> FlowFilter:
    from prefect.client.schemas.filters import FlowFilter

    return FlowFilter.model_validate({"name": {"any_": [flow]}})


def _start(log: Path, settings: Mapping[str, str]) -> OwnServer:
    """The server on a port that is free, out of the terminal's reach."""
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
        command = [sys.executable, "-m", "flows.server", str(listening.fileno()), str(os.getpid())]
        process = subprocess.Popen(
            command,
            env=os.environ | dict(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
        return OwnServer(f"http://127.0.0.1:{listening.getsockname()[1]}/api", process, log)


def _await_health(url: str, seconds: float, trouble: str, server: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (server is None or server.poll() is None):
        try:
            urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5.0).close()  # noqa: S310  Prefect's own address
            return
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.1)
    raise UserError(trouble)


def main() -> None:
    """Serve on an inherited socket until asked to end, or until the parent is gone."""
    parser = argparse.ArgumentParser(prog="python -m flows.server", description=__doc__)
    parser.add_argument("socket", type=int, help="number of a listening socket")
    parser.add_argument("parent", type=int, help="the process to live as long as")
    arguments = parser.parse_args()
    gc.disable()  # looking for garbage among what is imported is a tenth of the time that importing takes
    import uvicorn
    from prefect.server.api.server import create_app

    gc.enable()

    os.environ["PREFECT__SERVER_FINAL"] = "1"  # as Prefect starts its own: no second application in this process
    application = create_app(ephemeral=True)
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="on"))

    def leave_with_parent() -> None:
        while os.getppid() == arguments.parent:
            time.sleep(0.5)
        server.should_exit = True

    threading.Thread(target=leave_with_parent, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=arguments.socket)])


if __name__ == "__main__":
    main()
