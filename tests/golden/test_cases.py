"""Every golden case under ``GOLDEN_DIR`` (default ``../shared/golden``) against our code, one test a case.

A test's id is ``<system>/<case>``; the adapter of that name (``tests/golden/adapters``) runs it. Sizes, seeds, gains
and tolerances come from the case's own file, so other vectors of the same form run without a change here.
"""

from __future__ import annotations

import os

import pytest

from tests.golden.adapters import AWAITED, PENDING, SYSTEMS, adapters_of
from tests.golden.fill import golden_dir, load_case

CASES = sorted(f"{path.parent.name}/{path.stem}" for path in golden_dir().glob("*/*.json"))


@pytest.mark.skipif(
    not CASES and os.environ.get("CI") != "true", reason=f"no golden vectors at {golden_dir()}: a plain clone has none"
)
def test_golden_vectors_are_there() -> None:
    assert CASES, f"{golden_dir()}: no <system>/<case>.json; name the vectors' folder in GOLDEN_DIR"


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    system, case = name.split("/")
    if system in AWAITED:
        pytest.skip(f"{system}: not in the project yet")
    assert system in SYSTEMS, f"{system}: no such system; its adapters belong in tests/golden/adapters"
    if name in PENDING:
        request.applymarker(pytest.mark.xfail(reason="no adapter yet", strict=True))
    adapters = adapters_of(system)
    assert case in adapters, f"{name}: no adapter; write one in {SYSTEMS[system]}"
    adapters[case](load_case(name))
