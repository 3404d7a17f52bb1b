"""Soft-VC put together: content encoder, acoustic model and vocoder as the bundle ``systems/softvc-<variant>``.

In: the three folders that the variant names, ``encoder/`` and ``kmeans/``. Nothing is trained here.
Source: van Niekerk et al. 2022, section 2.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from speech.rates import SAMPLE_RATE, UNIT_HOP
from stages.params.audio import Audio
from stages.params.runtime import Common
from stages.params.softvc import SoftVC
from stages.runtime.stage import Stage, stage_main

KMEANS = Path("kmeans")


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    audio: Audio
    softvc: SoftVC


def run(stage: Stage[Params]) -> None:
    """Write one bundle."""
    from respeak.folders import CONFIG, read_yaml
    from respeak.systems.softvc.bundle import save_softvc
    from stages.units import load_kmeans

    params = stage.params
    name = stage.require_variant(list(params.softvc.variants))
    parts = params.softvc.variants[name]
    centroids, kmeans = load_kmeans(KMEANS)
    trained = {part: read_yaml(Path(getattr(parts, part)) / CONFIG) for part in ("acoustic", "vocoder")}
    config = {
        "scale": params.scale,
        "sample_rate": SAMPLE_RATE,
        "unit_hop": UNIT_HOP,
        "kmeans": {"k": len(centroids), "normalise": kmeans["normalise"]},
        "audio": audio(params),
        "provenance": {
            "stage": "softvc",
            **{part: getattr(parts, part) for part in ("encoder", "acoustic", "vocoder")},
            "corpus": trained["acoustic"]["corpus"],
            "steps": {part: spec["steps"] for part, spec in trained.items()},
            "seed": params.seed,
        },
        "licence": "that of the corpora it was trained on",
    }
    bundle = Path("systems") / f"softvc-{name}"
    save_softvc(bundle, config, parts.encoder, parts.acoustic, parts.vocoder, centroids)
    stage.tracker.log_model(bundle)


def audio(params: Params) -> dict[str, object]:
    """Return what a bundle keeps of how recordings were prepared."""
    settings = dataclasses.asdict(params.audio)
    return {key: settings[key] for key in ("trim_db", "normalise_peak", "pad_multiple")}


if __name__ == "__main__":
    stage_main("softvc", run, Params)
