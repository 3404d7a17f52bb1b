"""The judge's scores of generated digits against the original public code's, from the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch

from speech.metrics.frechet import fit_gaussian, frechet_distance
from speech.metrics.inception import am_score, inception_score, modified_inception_score
from tests.golden.fill import Case

PAIRS = 2000  # of the case; the paper draws 10,000


def metrics(case: Case) -> None:
    generated = case.inputs["logits_gen"].double().log_softmax(1).numpy()
    train = case.inputs["logits_train"].double().softmax(1).mean(0).numpy()
    real, made = (fit_gaussian(case.inputs[name].numpy()) for name in ("feat_real", "feat_gen"))
    for name, score in (
        ("inception_score", inception_score(generated)),
        ("modified_inception_score", modified_inception_score(generated, PAIRS)),
        ("am_score", am_score(generated, train)),
        ("fid", frechet_distance(made, real)),
    ):
        case.check(name, torch.tensor(score))


ADAPTERS: dict[str, Callable[[Case], None]] = {"metrics": metrics}
