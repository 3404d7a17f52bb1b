"""A view of a corpus by another encoder than the graph's: a folder like ``data/<corpus>`` under a stage's scratch.

It has the corpus's own ``audio``, and ``features`` and whatever else the stage makes of them. Each part is made shard
by shard and published whole, so that a killed stage finds what was finished.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from speech.errors import UserError
from speech.storage.shards import shard_paths
from stages.data.extraction import Extraction
from stages.features import encode_shard
from stages.runtime.jobs import Job


def open_view(folder: Path, corpus: Path) -> Path:
    """Begin a view of ``corpus`` in ``folder``, or find one that was begun.

    Raises:
        UserError: the corpus has no audio yet.
    """
    audio = corpus / "audio"
    if not audio.is_dir():
        raise UserError(f"{audio}: not found; run the stage 'audio' first")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "audio").exists():
        (folder / "audio").symlink_to(audio.resolve())
    return folder


def make_features(job: Job, view: Path, extraction: Extraction, keep: float = 1.0) -> None:
    """Make the view's ``features`` by ``extraction``, of the share ``keep`` of the recordings."""
    from respeak.encoders.encoder_files import read_config

    work = functools.partial(encode_shard, extraction=extraction, config=read_config(extraction.encoder), keep=keep)
    make_part(job, view / "features", {path.name: path for path in shard_paths(view / "audio")}, work)


def make_part(job: Job, output: Path, tasks: Mapping[str, Any], work: Callable[[Any, Path], Any]) -> None:
    """Make the shards of one part in worker processes; leave a part alone that is there already."""
    if output.is_dir():
        return
    part = dataclasses.replace(job, output=output, scratch=output.parent / f"making-{output.name}" / "job")
    part.parts.mkdir(parents=True, exist_ok=True)
    part.run(tasks, work)
    part.publish()
