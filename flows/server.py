"""Prefect's server: the user's own, or one of the project's that lives as long as the program that needs it.

Prefect would start such a one by itself, but within reach of the terminal's Ctrl-C, which ends it before the flow can
say how it ended; and a killed flow would leave it behind.
"""

from __future__ import annotations

import argparse
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

from speech.errors import UserError

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
DEAD = "its process ended without a word: it was killed, or the machine went down"
START_SECONDS = 300.0  # the first start makes the database


def prepare_prefect(root: Path) -> bool:
    """See that Prefect has a server: the user's, else a temporary one that keeps its records in ``.prefect/``.

    Returns:
        Whether the server is the project's own.

    Raises:
        UserError: the user's does not answer, or the temporary one does not start.
    """
    state = root / ".prefect"
    state.mkdir(exist_ok=True)
    settings = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{state / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(asctime)s %(task_run_name)-28s %(message)s",
        "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(asctime)s %(flow_name)-28s %(message)s",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    # Imported here, when its settings are made; they may come from a profile of the user's as well as from variables.
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings

    if url := get_current_settings().api.url:
        _await_health(url, 10.0, f"{url}: no Prefect server answers there; start it, or unset PREFECT_API_URL")
        return False
    url, server = _start(state / "server.log")
    atexit.register(_stop, server)
    os.environ["PREFECT_API_URL"] = url
    refresh_global_settings_context()
    _await_health(url, START_SECONDS, f"{state / 'server.log'}: Prefect's server did not start", server)
    return True


def crash_dead_runs(flow: str) -> None:
    """Say of every run of ``flow`` that the server believes to be running that it has crashed.

    For whoever knows that none is running: the project's own server was gone when the run's process was killed, so
    nobody else will say so.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, TaskRunFilter
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    running = {"state": {"type": {"any_": [StateType.RUNNING, StateType.PENDING]}}}
    with get_client(sync_client=True) as client:
        flows = FlowFilter(name=FlowFilterName(any_=[flow]))
        dead = client.read_flow_runs(flow_filter=flows, flow_run_filter=FlowRunFilter.model_validate(running))
        for run in dead:
            mine = FlowRunFilter.model_validate({"id": {"any_": [run.id]}})
            tasks = client.read_task_runs(flow_run_filter=mine, task_run_filter=TaskRunFilter.model_validate(running))
            for task in tasks:
                client.set_task_run_state(task.id, Crashed(message=DEAD), force=True)
            client.set_flow_run_state(run.id, Crashed(message=DEAD), force=True)


def _start(log: Path) -> tuple[str, subprocess.Popen[bytes]]:
    """The server on a port that is free, out of the terminal's reach; its address and its process."""
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
        command = [sys.executable, "-m", "flows.server", str(listening.fileno()), str(os.getpid())]
        server = subprocess.Popen(
            command,
            env=os.environ | {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in IDLE_SERVICES},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
        return f"http://127.0.0.1:{listening.getsockname()[1]}/api", server


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


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main() -> None:
    """Serve on an inherited socket until asked to end, or until the parent is gone."""
    parser = argparse.ArgumentParser(prog="python -m flows.server", description=__doc__)
    parser.add_argument("socket", type=int, help="number of a listening socket")
    parser.add_argument("parent", type=int, help="the process to live as long as")
    arguments = parser.parse_args()
    import uvicorn
    from prefect.server.api.server import create_app

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
