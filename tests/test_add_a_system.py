"""Adding a system is cheap: only its own files and a few shared places name it, and the guide's example works."""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import respeak.systems
from respeak import System
from respeak.cli import app
from respeak.systems import registry
from respeak.systems.base import Control, Manner, Rendering, Source, Stream, Task
from speech.audio.waveforms import encode_audio

PROJECT = Path(__file__).resolve().parents[1]
GUIDE = PROJECT / "docs/guides/add-a-system.md"
CODE = ("flows", "stages", "respeak", "models", "speech", "scripts")
# What docs/guides/add-a-system.md lists; the README is prose, and params.yaml is composed of conf/.
SHARED = ("dvc.yaml", "conf/", "params.yaml", "stages/papers/", "hubconf.py")
# Names that are words of the field too: alone they may mean the task or the thing.
WORDS = {"recordings", "resynthesis"}
DEFAULT = "DEFAULT_SYSTEM"  # which system is meant where none is named
# Names by which published files are called in parameters, whoever published them: renaming would break those.
PUBLISHED = {"SOFT_VC_KMEANS100"}


def sources() -> list[Path]:
    code = [path for room in CODE for path in (PROJECT / room).rglob("*") if path.suffix in (".py", ".sh")]
    return sorted([*code, PROJECT / "Makefile", PROJECT / "prefect.yaml"])


def is_own(path: str, system: type[System]) -> bool:
    return system.name in path or any(path == own or path.startswith(f"{own}/") for own in system.own_files)


def code_of(path: Path) -> Iterator[str]:
    """Lines without comments and prose: of Python no string that has a space in it."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from text.splitlines()
        return
    lines: dict[int, list[str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        prose = token.type == tokenize.STRING and re.search(r"\s", token.string)
        if token.type != tokenize.COMMENT and not prose:
            lines.setdefault(token.start[0], []).append(token.string)
    yield from (" ".join(tokens) for tokens in lines.values())


def names_it(line: str, system: type[System]) -> bool:
    """Whether a line of code names a system: its modules, its class, its bundle, its stages, its key."""
    name, line = system.name, line.replace(" . ", ".")
    if DEFAULT in line:
        return False
    for published in PUBLISHED:
        line = line.replace(f'"{published}"', "")
    qualified = (
        rf"\b(systems|models|params|stages)[./]{name}\b",
        rf"\b{system.__name__}\b",
        rf"\bsystem\b\W{{1,12}}{name}\b",
        rf"\b(train|finetune|pretrain)_{name}\b",
        rf"\b(Train|Finetune|Pretrain){system.__name__}\b",
    )
    if any(re.search(pattern, line) for pattern in qualified):
        return True
    return name not in WORDS and name in re.sub("[-_ ]", "", line.lower())


@pytest.mark.parametrize("name", registry.names())
def test_nothing_else_names_a_system(name: str) -> None:
    system = registry.find(name)
    found = {}
    for path in sources():
        place = path.relative_to(PROJECT).as_posix()
        if is_own(place, system) or place.startswith(SHARED):
            continue
        if lines := [line for line in code_of(path) if names_it(line, system)]:
            found[place] = lines[0]
    assert not found, f"{name} is named outside its own files; ask the contract (respeak/systems/base.py) instead"


@pytest.mark.parametrize(
    "line", ['if config["system"] == "softvc":', "isinstance(system, SoftVC)", "params.softvc.loop"]
)
def test_a_branch_is_noticed(line: str) -> None:
    assert names_it(line, registry.find("softvc"))
    assert not names_it('task == "resynthesis"', registry.find("resynthesis"))
    assert names_it("from models.resynthesis import UnitGenerator", registry.find("resynthesis"))


@pytest.mark.parametrize("name", registry.names())
def test_what_a_system_calls_its_own_is_there(name: str) -> None:
    for own in registry.find(name).own_files:
        assert (PROJECT / own).exists(), own


def test_the_guide_names_the_shared_places() -> None:
    text = GUIDE.read_text()
    places = re.findall(r"^\d\. `([^`]+)`", text, re.MULTILINE)
    assert len(places) <= 5
    # params.yaml is composed of conf/, where config.yaml has the line.
    assert set(SHARED) - {"params.yaml", "conf/"} <= set(places) and "conf/config.yaml" in places


@pytest.fixture()
def hush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The guide's system, in a folder that the registry sees beside its own, and its bundle."""
    code, config = re.findall(r"```(?:python|yaml)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    package = tmp_path / "found/hush"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "system.py").write_text(code)
    bundle = tmp_path / "systems/hush"
    bundle.mkdir(parents=True)
    (bundle / "config.yaml").write_text(config)
    monkeypatch.setattr(respeak.systems, "__path__", [*respeak.systems.__path__, str(package.parent)])
    known = (*registry.names(), "hush")
    monkeypatch.setattr(registry, "names", lambda: known)
    monkeypatch.chdir(tmp_path)
    yield bundle
    for module in [name for name in sys.modules if name.startswith("respeak.systems.hush")]:
        del sys.modules[module]
    registry.find.cache_clear()


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Any, str]:
    monkeypatch.setattr(sys, "argv", ["respeak", *arguments])
    with pytest.raises(SystemExit) as caught:
        app.main()
    output = capsys.readouterr()
    return caught.value.code or 0, output.out + output.err


def test_the_guides_example_works(
    hush: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wave = 0.5 * np.sin(np.arange(16000) / 16).astype(np.float32)
    soundfile.write("in.wav", wave, 16000)
    status, text = command(monkeypatch, capsys, "info", "hush")
    assert status == 0 and "hush (format 1" in text and "-20 dB" in text
    status, text = command(monkeypatch, capsys, "convert", "in.wav", "out.wav", "--system", "hush")
    assert status == 0, text
    np.testing.assert_allclose(soundfile.read("out.wav")[0], 0.1 * wave, atol=1e-4)
    status, text = command(monkeypatch, capsys, "convert", "in.wav", "o.wav", "--system", "hush", "--pitch", "2")
    others = ", ".join(registry.systems_taking(Control.PITCH))
    assert status == 2 and f"--pitch: hush takes no pitch ({others} do" in text and text.count("\n") == 1
    system = System.load(hush)
    source = Source("a", "anna", 800, {Stream.AUDIO: encode_audio(wave, "wav")})
    (made,) = system.render([Rendering(source, "somebody")], Manner(Task.CONVERSION))
    np.testing.assert_allclose(made, 0.1 * wave[:800], atol=1e-4)
    assert Control.PITCH not in type(system).takes
