"""Which files a stage depends on: all that can change what it makes, and no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import imports

Project = Callable[[dict[str, str]], None]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Writes sources, by path, of a project of its own."""
    caches = (imports._targets, imports._passed_on, imports._source)

    def write(sources: dict[str, str]) -> None:
        for path, source in sources.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(source)
        for cache in caches:
            cache.cache_clear()

    monkeypatch.setattr(imports, "PROJECT", tmp_path)
    yield write  # type: ignore[misc]
    for cache in caches:
        cache.cache_clear()


NETS = {
    "models/nets/__init__.py": "from models.nets.big import Big\nfrom models.nets.small import Small as Little\n",
    "models/nets/big.py": "from speech import loud\n",
    "models/nets/small.py": "SIZE = 1\n",
    "speech/loud.py": "x = 1\n",
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from models.nets.small import SIZE", {"models/nets/small.py"}),
        ("from models.nets import small", {"models/nets/small.py"}),
        ("import models.nets.small", {"models/nets/small.py"}),
        ("from models.nets import Little", {"models/nets/__init__.py", "models/nets/small.py"}),
        ("from models.nets import Big", {"models/nets/__init__.py", "models/nets/big.py", "speech/loud.py"}),
        ("from models.nets import Little, Big", {*NETS}),
        ("import models.nets", {*NETS}),
        ("from models.nets import *", {*NETS}),
        ("def late():\n    from models.nets.small import SIZE", {"models/nets/small.py"}),
        ("try:\n    import speech.loud\nexcept ImportError:\n    pass", {"speech/loud.py"}),
        ("import numpy", set()),
    ],
)
def test_a_module_depends_on_what_its_imports_lead_to(project: Project, source: str, expected: set[str]) -> None:
    project({**NETS, "stages/one.py": source})
    assert set(imports.code_of("stages.one")) == {"stages/one.py", *expected}


def test_imports_for_types_never_run(project: Project) -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from models.nets import Big\n"
    project({**NETS, "stages/one.py": typed, "stages/two.py": f"{typed}else:\n    from models.nets import Little\n"})
    assert imports.code_of("stages.one") == ["stages/one.py"]
    assert "models/nets/small.py" in imports.code_of("stages.two")
    assert "models/nets/big.py" not in imports.code_of("stages.two")


def test_what_a_package_defines_itself_depends_on_all_that_it_imports(project: Project) -> None:
    project({**NETS, "stages/one.py": "from models.nets import build"})
    with (imports.PROJECT / "models/nets/__init__.py").open("a") as handle:
        handle.write("def build(): return Big()\n")
    assert set(imports.code_of("stages.one")) == {"stages/one.py", *NETS}


def test_names_that_a_package_loads_when_asked_are_found(project: Project) -> None:
    lazy = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from models.nets.big import Big\n"
    lazy += "def __getattr__(name): ...\n"
    project({**NETS, "models/nets/__init__.py": lazy, "stages/one.py": "from models.nets import Big"})
    assert "models/nets/big.py" in imports.code_of("stages.one")


def test_names_pass_through_several_packages(project: Project) -> None:
    outer = {"models/__init__.py": "from models.nets import Little\n", "stages/one.py": "from models import Little"}
    project({**NETS, **outer})
    expected = ["models/__init__.py", "models/nets/__init__.py", "models/nets/small.py", "stages/one.py"]
    assert imports.code_of("stages.one") == expected


def test_what_watches_over_work_is_no_part_of_it() -> None:
    code = imports.code_of("stages.encoder")
    assert "stages/encoder.py" in code
    assert not [path for path in code if imports.lies_in(path, ["stages/runtime", "stages/tracking"])]


def test_what_a_registry_finds_is_named_to_it(project: Project) -> None:
    project({**NETS, "stages/one.py": "from respeak.systems import registry", "respeak/systems/registry.py": "x = 1"})
    assert imports.code_of("stages.one") == ["stages/one.py"]
    assert imports.code_of("stages.one", "models.nets.small") == ["models/nets/small.py", "stages/one.py"]


@pytest.mark.parametrize(
    ("stage", "touched", "expected"),
    [
        ("encoder", "models/softvc/acoustic.py", False),
        ("kmeans", "models/encoders/hubert.py", False),
        ("audio", "speech/corpora/vctk.py", False),
        ("evaluate", "models/encoders/hubert.py", False),
        ("pretrain", "models/hifigan/generator.py", False),
        ("features", "models/encoders/hubert.py", True),
        ("train_acoustic", "models/softvc/acoustic.py", True),
        ("corpus", "speech/corpora/vctk.py", True),
        ("evaluate", "speech/judges/asr.py", True),
    ],
)
def test_stages_depend_on_the_networks_they_run(stage: str, touched: str, expected: bool) -> None:
    assert (imports.PROJECT / touched).is_file()
    assert (touched in imports.code_of(f"stages.{stage}")) is expected
