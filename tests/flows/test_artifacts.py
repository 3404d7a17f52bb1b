from __future__ import annotations

import pytest

from flows.artifacts import percentage, slug


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("f0: 3/12 shards, 5 s left", 25.0),
        ("audio@demo: 12/12 shards, 0 s left", 100.0),
        ("evaluate resynthesis: 1/4 shards, 30 s left", 25.0),
        ("step 10/20 train loss_f0 0.682 9.20 steps/s, 0:00:01 left", 50.0),
        ("f0: 3 of 12 shards were finished before", None),
        ("units: 0/0 shards", None),
        ("> python -m stages.f0 --variant demo", None),
        ("see https://example.org/1/2", None),
    ],
)
def test_a_stages_lines_say_how_far_it_is(line, expected):
    assert percentage(line) == expected


def test_keys_are_those_that_prefect_takes():
    assert slug("evaluate@Ground_truth") == "evaluate-ground-truth"
