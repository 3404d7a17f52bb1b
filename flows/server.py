"""Prefect's server: the user's own, or one of the project's that lives as long as the program that needs it.

Prefect would start such a one by itself, but within reach of the terminal's Ctrl-C, which ends it before the flow can
state how it ended; and a killed flow would leave it behind.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech.errors import UserError
from stages.runtime.engine import shun_proxies
from stages.runtime.processes import is_alive, process_key

if TYPE_CHECKING:
    from uuid import UUID

# Prefect's server costs seconds to start; nothing of these is of use to one that lives for a single flow.
IDLE = ("SCHEDULER", "LATE_RUNS", "FOREMAN", "PAUSE_EXPIRATIONS", "REPOSSESSOR", "TRIGGERS", "CLEANUP_RECONCILER")
AT_WORK = ["RUNNING", "PENDING"]
DEAD = "its process ended without a word: it was killed, or the machine went down"
START_SECONDS = 300.0  # the first start makes the database
RECORD_SECONDS = 30.0
PAGE = 200  # the most that it tells at once
HEARTBEAT_SECONDS = 30  # a run gives so often a sign of life; Prefect allows no less


def prepare_prefect(root: Path) -> bool:
    """See that Prefect has a server: the user's, else the project's, which ends with this process.

    Prefect is to be imported after this, which makes its settings.

    Returns:
        Whether the server is the project's own, with its records in ``.prefect/``.

    Raises:
        UserError: the user's does not answer, or the project's does not start.
    """
    _make_settings(root)
    if users_server():
        return False
    from prefect.context import refresh_global_settings_context

    log = root / ".prefect" / "server.log"
    process, os.environ["PREFECT_API_URL"] = _start(log)
    atexit.register(_stop, process)
    refresh_global_settings_context()
    url = os.environ["PREFECT_API_URL"]
    _await_health(url, START_SECONDS, f"{log}: Prefect's server did not start", process)
    return True


def _start(log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start the server on a port that is free, out of the terminal's reach; return its process and its address."""
    settings = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in IDLE}
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(listening.fileno()), str(os.getpid())],
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
        return process, f"http://127.0.0.1:{listening.getsockname()[1]}/api"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it; what it has been told is in its database."""
    process.terminate()
    try:
        process.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _make_settings(root: Path) -> None:
    shun_proxies()
    state = root / ".prefect"
    state.mkdir(exist_ok=True)
    settings = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{state / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(asctime)s %(task_run_name)-28s %(message)s",
        "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(asctime)s %(flow_name)-28s %(message)s",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def users_server() -> str:
    """Return the address of the user's own server, by a variable or a profile of theirs; empty where they have none.

    Raises:
        UserError: nobody answers there.
    """
    from prefect.settings import get_current_settings

    if url := get_current_settings().api.url or "":
        _await_health(url, 10.0, f"{url}: no Prefect server answers there; start it, or unset PREFECT_API_URL")
    return url


def process_tag() -> str:
    """Return a tag for a flow run by which others know whether its process still lives."""
    return f"process {socket.gethostname()} {process_key(os.getpid()) or os.getpid()}"


def crash_dead_runs(flow: str) -> None:
    """Mark every run of ``flow`` as crashed that the server believes to be at work and whose process is no more.

    The project's own server was gone when the run's process was killed, so nobody else has done so. A deployment's
    runs are left to its worker, and to ``flows.deployments``' watch.
    """
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_filter=_named(flow), flow_run_filter=_runs_that_are(AT_WORK)):
            if not run.deployment_id and not any(map(_lives, run.tags)):
                client.set_flow_run_state(run.id, Crashed(message=DEAD), force=True)
    crash_left_tasks(flow)


def _lives(tag: str) -> bool:
    """Return whether a tag is that of a process which lives; of one on another machine nothing is known."""
    kind, _, place = tag.partition(" ")
    host, _, key = place.partition(" ")
    return kind == "process" and (host != socket.gethostname() or is_alive(key))


def crash_left_tasks(flow: str) -> None:
    """Mark the tasks at work in runs of ``flow`` that have crashed as crashed too.

    Whoever found the run dead marked the run alone.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import TaskRunFilter
    from prefect.states import Crashed

    working = TaskRunFilter.model_validate({"state": {"type": {"any_": AT_WORK}}})
    crashed = {"flow_filter": _named(flow), "flow_run_filter": _runs_that_are(["CRASHED"])}
    with get_client(sync_client=True) as client:
        for task in client.read_task_runs(**crashed, task_run_filter=working):
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


def _named(flow: str) -> Any:
    from prefect.client.schemas.filters import FlowFilter

    return FlowFilter.model_validate({"name": {"any_": [flow]}})


def _runs_that_are(states: list[str]) -> Any:
    from prefect.client.schemas.filters import FlowRunFilter

    return FlowRunFilter.model_validate({"state": {"type": {"any_": states}}})


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
    """Serve on an inherited socket until asked to end, or until the parent is gone; their numbers are the arguments."""
    listening, parent = map(int, sys.argv[1:])
    import uvicorn
    from prefect.server.api.server import create_app

    os.environ["PREFECT__SERVER_FINAL"] = "1"  # as Prefect starts its own: no second application in this process
    server = uvicorn.Server(uvicorn.Config(create_app(ephemeral=True), log_level="error", lifespan="on"))

    def leave_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        server.should_exit = True

    threading.Thread(target=leave_with_parent, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=listening)])


if __name__ == "__main__":
    main()
