"""Which stages take turns on the machine's GPUs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.gpus import wants_gpu
from flows.graph import read_graph
from speech.judges.settings import ASR, Phonemes
from stages.params.whole import Params, load_params

ROOT = Path(__file__).resolve().parents[2]
ON_PROCESSOR = ("corpus", "audio", "encoder", "f0", "f0_stats", "speakers", "tables", "report", "evaluate")


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "params.yaml")


def test_stages_of_the_project(params: Params) -> None:
    for stage in read_graph(ROOT):
        apart = stage.partition("@")[0] in ON_PROCESSOR or stage == "synthesize@ground_truth"
        assert wants_gpu(stage, params) == (not apart), stage
        assert not wants_gpu(stage, replace(params, runtime=replace(params.runtime, device="cpu"))), stage


@pytest.mark.parametrize(
    "judges",
    [
        {"asr": ASR("whisper", "open", "small")},
        {"phonemes": Phonemes("ctc", "folder")},
        {"asr_of": {"fr": ASR("ctc", "open", "folder")}},
        {"quality": ["stoi", "utmos"]},
        {"speaker_judge": "ecapa"},
        {"digits": "train_digit_classifier/own"},
    ],
    ids=lambda judges: next(iter(judges)),
)
def test_an_evaluation_with_a_network_among_its_judges(params: Params, judges: dict[str, object]) -> None:
    assert wants_gpu("evaluate@resynthesis", replace(params, evaluate=replace(params.evaluate, **judges)))
