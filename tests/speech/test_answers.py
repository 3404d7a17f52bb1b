"""Answers of judges, kept by content: nothing is judged twice, and nothing old is taken for new."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech.audio.waveforms import encode_audio
from speech.errors import UserError
from speech.judges import cache
from speech.judges.cache import Answers, Heard, Joined, Judge, Recording


def recording(seed: int = 0, samples: int = 800) -> Recording:
    wave = 0.1 * np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    return Recording(encode_audio(wave, "flac"), f"u{seed}")


def loudness(**settings: Any) -> tuple[Judge, list[str]]:
    """A judge and what it was asked to do."""
    log: list[str] = []

    def load() -> Callable[..., dict[str, Any]]:
        log.append("loaded")

        def listen(heard: Heard, scale: np.ndarray | str = "") -> dict[str, Any]:
            log.append("heard")
            return {"peak": float(np.abs(heard.wave).max()), "scale": str(scale)}

        return listen

    return Judge({"judge": "loudness", "test": os.urandom(4).hex(), **settings}, load), log


def test_what_was_judged_is_not_judged_again_nor_is_the_judge_loaded(tmp_path: Path) -> None:
    judge, log = loudness()
    first = [Answers(tmp_path).ask(judge, recording(seed)) for seed in (0, 1, 0)]
    assert log == ["loaded", "heard", "heard"]
    assert first[0] == first[2] != first[1]
    another = Judge(judge.settings, lambda: pytest.fail("loaded without need"))
    answers = Answers(tmp_path)
    assert answers.ask(another, recording(1)) == first[1]
    assert (answers.found, answers.judged) == (1, 0)


def test_any_change_is_another_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, whole = Answers(tmp_path), recording()
    judge, _ = loudness(mode="open")
    questions: list[tuple[Any, ...]] = [
        (judge, whole),
        (judge, recording(1)),
        (judge, Recording(whole.audio, "elsewhere", 400)),
        (judge, Joined((whole, whole))),
        (judge, Joined((whole,))),
        (judge, whole, np.zeros(3)),
        (judge, whole, np.zeros(3, np.float32)),
        (judge, whole, "text"),
        (Judge({**judge.settings, "mode": "words"}, judge.load), whole),
        (Judge(judge.settings, judge.load, ("numpy",)), whole),
    ]
    for question in questions:
        answers.ask(*question)
    assert (answers.found, answers.judged) == (0, len(questions))
    answers.ask(judge, Recording(whole.audio, "the same under another name"))
    assert answers.found == 1
    monkeypatch.setattr(cache, "_code", lambda: "other code")
    answers.ask(Judge(judge.settings, judge.load), whole)
    assert answers.judged == len(questions) + 1


def test_the_code_of_judges_decides_their_answers(project: Path) -> None:
    named = {path.relative_to(project).as_posix() for pattern in cache._CODE for path in project.glob(pattern)}
    assert {
        "speech/judges/asr.py",
        "speech/metrics/f0_metrics.py",
        "speech/text.py",
        "respeak/judges/panel.py",
    } <= named


def test_a_damaged_answer_is_made_again(tmp_path: Path) -> None:
    judge, log = loudness()
    truth = Answers(tmp_path).ask(judge, recording())
    (path,) = [path for path in tmp_path.glob("*/*") if path.is_file()]
    for damage in (b"", b'{"answer": {"pe', b"[1]", b'{"answer": 3}', b"\xff"):
        path.write_bytes(damage)
        assert Answers(tmp_path).ask(judge, recording()) == truth
        assert Answers(tmp_path).ask(judge, recording()) == truth
    assert log.count("heard") == 6
    assert list(tmp_path.glob("*/*")) == [path]


def test_what_was_not_asked_for_longest_goes(tmp_path: Path) -> None:
    judge, log = loudness()
    answers = Answers(tmp_path)
    for seed in range(20):
        answers.ask(judge, recording(seed))
    for age, path in enumerate(tmp_path.glob("*/*")):
        os.utime(path, (age, age))
    answers.ask(judge, recording(7))
    answers.prune(limit=20)
    assert len(list(tmp_path.glob("*/*"))) == 20
    answers.prune(limit=10)
    assert len(list(tmp_path.glob("*/*"))) == 9
    before = log.count("heard")
    answers.ask(judge, recording(7))
    assert log.count("heard") == before


def test_without_a_folder_everything_is_judged(tmp_path: Path) -> None:
    judge, log = loudness()
    for _ in range(2):
        Answers(None).ask(judge, recording())
    Answers(None).prune()
    assert log.count("heard") == 2


def test_joined_recordings_are_heard_without_their_padding() -> None:
    one, other = recording(0), recording(1)
    joined = Joined((Recording(one.audio, "a", 300), Recording(other.audio, "b", 500)))
    np.testing.assert_array_equal(joined.wave, np.concatenate([one.wave[:300], other.wave[:500]]))


def test_damaged_audio_is_one_line() -> None:
    with pytest.raises(UserError, match=r"part-00000: utterance 'x': .*damaged"):
        _ = Recording(recording().audio[:60], "part-00000: utterance 'x'").wave
