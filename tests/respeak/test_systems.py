"""The contract: systems are found by their folders, declare themselves, and refuse what they do not take."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import respeak
import respeak.systems
from respeak.bundle import EVERY_SYSTEM, read_config
from respeak.systems import registry
from respeak.systems.base import Control, Manner, Stream, System, Task, named_controls
from respeak.systems.recordings.system import Recordings
from respeak.systems.resynthesis.system import Resynthesis
from respeak.systems.softvc.system import SoftVC
from speech.errors import UserError
from speech.intonation import Intonation
from tests.respeak.tiny import make_bundle
from tests.respeak.tiny_softvc import make_softvc


def test_systems_are_the_packages_of_their_folder() -> None:
    packages = sorted(path.parent.name for path in Path(respeak.systems.__file__).parent.glob("*/system.py"))
    assert list(registry.names()) == packages
    known = {"recordings": Recordings, "resynthesis": Resynthesis, "softvc": SoftVC}
    assert {name: registry.find(name) for name in known} == known
    with pytest.raises(UserError, match=f"no system 'vall-e'; there are {', '.join(packages)}"):
        registry.find("vall-e")


def test_listing_imports_none_and_declarations_import_no_torch(project: Path) -> None:
    code = (
        "import sys; from respeak.systems import registry; registry.names();"
        "print([m for m in sys.modules if m.startswith('respeak.systems.') and m.endswith('.system')]);"
        "print(len([registry.find(name).takes for name in registry.names()]), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", f"{len(registry.names())} False"]


@pytest.mark.parametrize("name", registry.names())
def test_a_system_declares_itself(name: str) -> None:
    system = registry.find(name)
    assert system.tasks and not inspect.isabstract(system)
    assert all(isinstance(kinds, tuple) for kinds in system.bundle_keys.values())
    assert not set(system.bundle_keys) & set(EVERY_SYSTEM)
    assert set(system.hints) <= system.takes
    ours, general = (inspect.signature(kind.convert) for kind in (system, System))
    assert ours == general


def test_whichever_system_a_bundle_holds_is_loaded(tmp_path: Path, bundle_dir: Path) -> None:
    soft = make_softvc(tmp_path / "soft")
    assert type(respeak.load(bundle_dir, "cpu")) is type(System.load(bundle_dir, "cpu")) is Resynthesis
    assert type(respeak.load(soft, "cpu")) is type(SoftVC.load(soft, "cpu")) is SoftVC
    with pytest.raises(UserError, match="holds a system 'softvc', expected 'resynthesis'"):
        Resynthesis.load(soft)
    (soft / "config.yaml").write_text((soft / "config.yaml").read_text().replace("system: softvc", "system: other"))
    expected = " or ".join(f"'{name}'" for name in registry.bundled_names())
    with pytest.raises(UserError, match=f"holds a system 'other', expected {expected}"):
        System.load(soft)


def test_a_bundle_must_hold_what_its_system_declares(tmp_path: Path) -> None:
    soft = make_softvc(tmp_path / "soft")
    text = (soft / "config.yaml").read_text()
    for key in ("content", "acoustic", "unit_hop"):
        (soft / "config.yaml").write_text(text.replace(f"{key}:", f"not_{key}:", 1))
        with pytest.raises(UserError, match=f"key '{key}' is missing"):
            read_config(soft)


def test_a_control_that_is_not_taken_is_refused_with_those_who_take_it(tmp_path: Path) -> None:
    soft = SoftVC.load(make_softvc(tmp_path / "soft"), "cpu")
    wave = np.sin(np.arange(16000, dtype=np.float32))
    for asked in ({"melody": np.ones(8)}, {"intonation": Intonation(1.0)}, {"units": np.ones(8)}, {"source": "anna"}):
        with pytest.raises(UserError, match=r"softvc takes no .* \(.*resynthesis.* do(es)?\); leave it out") as caught:
            soft.convert(wave, 16000, "anna", **asked)
        assert "\n" not in str(caught.value)
    for method, arguments in (
        ("voice_of", (wave, 16000)),
        ("melody_of", (wave, 16000)),
        ("synthesize_units", (wave, "a")),
    ):
        with pytest.raises(UserError, match="softvc takes no"):
            getattr(soft, method)(*arguments)
    with pytest.raises(UserError, match=r"streaming: softvc takes no streaming \(no system does\)"):
        soft.require({Control.STREAMING: "streaming"})


def test_arguments_are_controls_where_they_differ_from_none() -> None:
    assert named_controls(None, Intonation(), None, None) == {}
    used = named_controls("anna", Intonation(1.0, 0.5), np.ones(1), np.ones(1))
    assert set(used) == {Control.SOURCE, Control.PITCH, Control.PITCH_RANGE, Control.MELODY, Control.UNITS}


def test_a_bundle_may_take_less_than_its_system(bundle_dir: Path, tmp_path: Path) -> None:
    from tests.respeak.tiny import MODEL, SPEAKERS

    vectors = {name: np.eye(256, dtype=np.float32)[row] for row, name in enumerate(SPEAKERS)}
    by_vector = make_bundle(tmp_path / "v", model={**MODEL, "speaker_dim": 256}, vectors=vectors)
    table, heard = (read_config(path) for path in (bundle_dir, by_vector))
    assert Control.RECORDING in Resynthesis.takes_of(heard) and Control.RECORDING not in Resynthesis.takes_of(table)
    assert Stream.SPEAKERS in Resynthesis.streams_of(heard, Task.CONVERSION)
    assert Resynthesis.streams_of(table, Task.CONVERSION) == {Stream.UNITS, Stream.F0}


def test_streams_are_those_that_a_task_needs(tmp_path: Path) -> None:
    discrete, soft = (read_config(make_softvc(tmp_path / kind, kind)) for kind in ("units", "soft_units"))
    assert SoftVC.streams_of(discrete, Task.CONVERSION) == {Stream.UNITS}
    assert SoftVC.streams_of(discrete, Task.VOCODE) == SoftVC.streams_of(soft, Task.CONVERSION) == {Stream.AUDIO}


def test_recordings_are_given_back() -> None:
    system, wave = Recordings.load("anywhere"), np.sin(np.arange(8000, dtype=np.float32))
    np.testing.assert_array_equal(system.convert(wave, 16000, "whoever"), wave)
    assert len(system.convert(wave, 8000, "whoever")) == 16000
    assert list(system.render([], Manner(Task.COPY))) == []
    with pytest.raises(UserError, match="system 'recordings' has no task 'resynthesis'; it has copy, conversion"):
        Recordings.require_task(Task.RESYNTHESIS)
