"""Output of a training stage: weights, their configuration, and the curves of its losses."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from respeak.folders import CONFIG, save_state
from speech.storage.files import atomic_path, write_text
from stages.runtime.jobs import Job
from stages.training.run import History

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Delivery:
    """The output of a training stage, gathered in :attr:`folder` and then published whole.

    Attributes:
        job: whose output it is.
        history: the logged rows.
    """

    job: Job
    history: History

    @property
    def folder(self) -> Path:
        """Folder in which the output is gathered."""
        return self.job.parts

    def save(self, config: Mapping[str, Any], **modules: nn.Module) -> None:
        """Write ``config.yaml``, and the weights of each module as ``<name>.safetensors``."""
        for name, module in modules.items():
            with atomic_path(self.folder / f"{name}.safetensors") as temporary:
                save_state(temporary, module.state_dict())
        write_text(self.folder / CONFIG, yaml.safe_dump(dict(config), sort_keys=True))

    def publish(self, curves: bool = False) -> None:
        """Write ``history.csv`` and give the output its place.

        With ``curves`` the same table lies beside the output, as ``<output>.csv``, where ``dvc plots`` finds it.
        """
        write_history(self.folder / "history.csv", self.history)
        if curves:
            write_history(self.job.output.with_suffix(".csv"), self.history)
        self.job.publish()


def write_history(path: Path, history: History) -> None:
    """Write logged rows as CSV, one column per series, empty where a row lacks it."""
    names = sorted({name for row in history for name in row} - {"step"})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", *names], lineterminator="\n")
    writer.writeheader()
    for row in history:
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()} | {"step": int(row["step"])})
    write_text(path, text.getvalue())
