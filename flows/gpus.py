"""The machine's GPUs as a named concurrency limit of Prefect's: no more stages at work on them than there are.

Cores alone would let two trainings side by side where there are cores for both, and one GPU's memory for neither. The
limit is the server's, so that reproductions in several folders of one machine share it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.runtime.engine import TRAINING

NVIDIA = Path("/proc/driver/nvidia/gpus")
# Stages that ask for runtime.device.
ON_GPU = (*TRAINING, "evaluate", "features", "kmeans", "soft_units", "unit_quality", "units")


def count_gpus() -> int:
    """NVIDIA GPUs that this process may use, without the seconds that asking torch takes."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    return len(list(NVIDIA.iterdir())) if NVIDIA.is_dir() else 0


def limit_name() -> str:
    """What the limit is called in Prefect: ``gpu@<host>``."""
    return f"gpu@{socket.gethostname()}"


def make_limit(all_free: bool = False) -> None:
    """Tell the server how many GPUs there are here.

    ``all_free`` is for a server of the project's own, which a killed run has not told that it is gone: nobody else is
    at work there. Other servers take back what a killed run held by themselves, after minutes.
    """
    if not (count := count_gpus()):
        return
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(limit_name(), count)
        if all_free:
            client.update_global_concurrency_limit(limit_name(), GlobalConcurrencyLimitUpdate(active_slots=0))


@contextmanager
def gpu(stage: str, device: str) -> Iterator[None]:
    """A GPU for ``stage``, where there are any and it asks for one; waits for it."""
    if device == "cpu" or not stage.startswith(ON_GPU) or not count_gpus():
        yield
        return
    from prefect.concurrency.sync import concurrency

    # A server that is restarted meanwhile is no reason to end a training.
    with concurrency(limit_name(), strict=True, raise_on_lease_renewal_failure=False):
        yield
