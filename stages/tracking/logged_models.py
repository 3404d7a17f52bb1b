"""System bundles as MLflow's logged models: the bundle itself, the code that loads it, a signature."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.tracking.tracker import BUNDLE, CODE, flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

DIGEST = "bundle"  # the tag that a bundle's digest is kept under
LOADER = "respeak.pyfunc"


def log_bundle(client: MlflowClient, experiment: str, run: str, folder: Path, tags: Mapping[str, str]) -> str:
    """Log what ``Tracker.log_model`` laid down in ``folder``, as an output of ``run``; return its id.

    A model that this run has already is not logged twice.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    digest = directory_digest(folder / BUNDLE)
    for model in find_models(client, experiment, digest):
        if model.source_run_id == run:
            return str(model.model_id)
    model = client.create_logged_model(
        experiment, folder.name, run, {**tags, DIGEST: digest}, _params(folder / BUNDLE), "voice conversion"
    )
    try:
        with tempfile.TemporaryDirectory() as made:
            save_pyfunc(Path(made) / "model", folder, model.model_id)
            client.log_model_artifacts(model.model_id, f"{made}/model")
    except BaseException:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run, [LoggedModelOutput(model.model_id, 0)])
    return str(model.model_id)


def save_pyfunc(path: Path, folder: Path, model_id: str | None = None) -> None:
    """Write a model as MLflow reads it, from a folder that holds a bundle and the code that loads it."""
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example")  # a recording in the listing would help nobody
        save_model(
            path,
            loader_module=LOADER,
            data_path=str(folder / BUNDLE),
            code_paths=[str(room) for room in sorted((folder / CODE).iterdir())],
            mlflow_model=Model(model_id=model_id),
            signature=signature(),
            pip_requirements=requirements(),
        )


def signature() -> ModelSignature:
    """Return the signature: recordings in, recordings out; the parameters of :mod:`respeak.pyfunc`."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    from respeak.pyfunc import AUDIO, PARAMS

    audio = Schema([ColSpec(DataType.binary, AUDIO)])
    kinds = {str: DataType.string, float: DataType.double}
    params = ParamSchema([ParamSpec(name, kinds[type(value)], value) for name, value in PARAMS.items()])
    return ModelSignature(audio, audio, params)


def requirements() -> list[str]:
    """Return the light install, at the versions of this environment: what a bundle needs, without the pipeline."""
    light = [line for line in requires("respeak") or [] if "extra ==" not in line]
    names = ["mlflow", "pandas", *(re.split(r"[^A-Za-z0-9_.-]", line)[0] for line in light)]
    # Without the local part, as in 2.11.0+cpu, which package indexes do not have.
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]


def find_models(client: MlflowClient, experiment: str, digest: str) -> list[LoggedModel]:
    """Find finished models whose bundle has that digest, newest first."""
    from mlflow.entities import LoggedModelStatus

    found = client.search_logged_models([experiment], f"tags.{DIGEST} = '{digest}'")
    finished = [model for model in found if model.status == LoggedModelStatus.READY]
    return sorted(finished, key=lambda model: -model.creation_timestamp)


def directory_digest(folder: Path) -> str:
    """Return a folder's MD5 as DVC computes and records it, with its ending ``.dir``."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listing = [{"md5": _md5(path), "relpath": path.relative_to(folder).as_posix()} for path in files]
    listing.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _params(bundle: Path) -> dict[str, str]:
    """Return what tells a bundle from others, of its configuration."""
    from respeak.bundle import read_config

    config = read_config(bundle)
    shown: dict[str, Any] = {key: config.get(key) for key in ("system", "scale", "kmeans", "provenance")}
    shown |= {"encoder": (config.get("encoder") or {}).get("kind"), "speakers": len(config["speakers"])}
    return {name: str(value)[:500] for name, value in flatten({k: v for k, v in shown.items() if v}).items()}
