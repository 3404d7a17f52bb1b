from __future__ import annotations

from flows.artifacts import slug


def test_keys_are_those_that_prefect_takes():
    assert slug("evaluate@Ground_truth") == "evaluate-ground-truth"
