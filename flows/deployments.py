"""``python -m flows.deployments``: register with a Prefect server what it is to start, and how it knows a dead run.

The schedules of ``prefect.yaml``, their work pool, and the watch on runs. The server is the one that
``PREFECT_API_URL`` names. Said again, it replaces what it said before. Then
``prefect worker start --pool respeak --limit 1`` runs what is due; ``prefect deployment run reproduce/nightly`` does
not wait for the night.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from flows.children import run_command
from flows.server import DEAD, HEARTBEAT_SECONDS, users_server
from speech.errors import UserError

if TYPE_CHECKING:
    from prefect.automations import AutomationCore

POOL = "respeak"
FLOWS = ["reproduce", "sweep"]
WATCH = "Respeak: a run that falls silent has crashed"
SILENCE_SECONDS = 5.0 * HEARTBEAT_SECONDS  # beats get lost while a server restarts
# Names of the states after which a run states nothing more.
ENDINGS = ("Completed", "Failed", "Crashed", "Cancelled", "TimedOut", "Suspended")


def main(interrupted: threading.Event) -> int:
    """Make the work pool, deploy ``prefect.yaml``, watch the runs; returns the exit status."""
    argparse.ArgumentParser(
        prog="python -m flows.deployments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    if not users_server():
        raise UserError("PREFECT_API_URL is not set: start a server (make prefect) and set it to its address")
    deploy(Path.cwd())
    watch(SILENCE_SECONDS)
    print(f"deployed; now start a worker: make worker, or prefect worker start --pool {POOL} --limit 1")
    return 0


def deploy(root: Path) -> None:
    """Make the work pool where there is none, and register the deployments of ``prefect.yaml``.

    Raises:
        UserError: Prefect refuses them.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    # Where there is one already, somebody may have changed its settings.
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"{root / 'prefect.yaml'}: {' '.join((result.stdout + result.stderr).split())[-500:]}")


def watch(silence: float) -> None:
    """Have the server turn a run into Crashed when it has not stated for so many seconds that it is alive.

    A worker marks a run so whose process it sees end; this is for when the worker, or its machine, is gone too.
    """
    from prefect.client.orchestration import get_client

    wanted = crash_watch(silence)
    with get_client(sync_client=True) as client:
        if found := client.read_automations_by_name(name=WATCH):
            client.update_automation(found[0].id, wanted)
        else:
            client.create_automation(wanted)


def crash_watch(silence: float) -> AutomationCore:
    """Return the automation: after a heartbeat another one is expected in time, or the end of the run."""
    from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture
    from prefect.client.schemas.objects import StateType

    beat, message = "prefect.flow-run.heartbeat", f"{DEAD} (silent for {silence:.0f} s)"
    return AutomationCore(
        name=WATCH,
        description=f"No heartbeat for {silence:.0f} s: the process was killed, or its machine went down.",
        trigger=EventTrigger(
            after={beat},
            expect={beat, *(f"prefect.flow-run.{name}" for name in ENDINGS)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": FLOWS},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silence),
        ),
        actions=[ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)],
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
