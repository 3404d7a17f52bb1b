"""Which stages want a GPU, and the machine's GPUs as a named concurrency limit of Prefect's.

Processor cores alone would let two trainings side by side where there are cores for both, and one GPU's memory for
neither. Within a reproduction :mod:`flows.cores` counts GPUs; the limit is the server's, so that reproductions in
several folders of one machine share them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speech.judges.settings import Evaluate
from stages.params.whole import Params
from stages.runtime.engine import TRAINING

NVIDIA = Path("/proc/driver/nvidia/gpus")
# Stages that put all they do on runtime.device; some syntheses and evaluations do too.
ON_GPU = (*TRAINING, "features", "kmeans", "soft_units", "unit_quality", "units")
NO_NETWORKS = {"none", "pocketsphinx", "resemblyzer", "stoi", "pesq", "mcd"}  # judges at home on the processor


def wants_gpu(stage: str, params: Params | None) -> bool:
    """Whether a stage, ``evaluate@flat``, works on ``runtime.device``; all do for all one knows without ``params``."""
    name, _, variant = stage.partition("@")
    if params and params.runtime.device == "cpu":
        return False
    if params and name == "evaluate":
        return has_networks(params.evaluate)
    if params and name == "synthesize":
        return params.experiments[variant].task != "copy"
    return name.startswith((*ON_GPU, "evaluate", "synthesize"))


def has_networks(judges: Evaluate) -> bool:
    """Whether any of the judges is one that a GPU is for."""
    from respeak.judges.digit_judge import names_classifier

    recognisers = {asr.judge for asr in (judges.asr, *judges.asr_of.values())}
    chosen = {*recognisers, judges.phonemes.judge, judges.speaker_judge, *judges.quality}
    return names_classifier(judges.digits) or not chosen <= NO_NETWORKS


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
def gpu(stage: str, params: Params | None) -> Iterator[None]:
    """A GPU for ``stage``, where there are any and it asks for one; waits for it."""
    if not count_gpus() or not wants_gpu(stage, params):
        yield
        return
    from prefect.concurrency.sync import concurrency

    # A server that is restarted meanwhile is no reason to end a training.
    with concurrency(limit_name(), strict=True, raise_on_lease_renewal_failure=False):
        yield
