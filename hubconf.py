"""torch.hub entries: ``torch.hub.load("<owner>/<repository>", "resynthesis", "systems/resynthesis")``.

Soft-VC's published models, called as people call them::

    hubert, acoustic, hifigan = (torch.hub.load(hub, name) for name in ("hubert_soft", "acoustic_hubert_soft",
                                                                        "hifigan_hubert_soft"))
    units = hubert.units(wave)                        # (1, 1, T) at 16 kHz to (1, T // 320, 256)
    mel = acoustic.generate(units).transpose(1, 2)    # (1, 128, 2 N)
    wave = hifigan(mel)                               # (1, 1, 320 N)

Their files go to ``$RESPEAK_CACHE`` or ``~/.cache/respeak``, held to the sha256 that is known of them; ``path`` names a
copy of your own; ``pretrained=False`` gives the network with random weights.

What is loaded works wherever it is called, even where the caller has other packages named ``models`` or ``speech``:
ours are imported whole while torch.hub looks, and the caller keeps its own under those names.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.resynthesis import F0VQVAE, UnitGenerator, WaveVQVAE
    from respeak import System

dependencies = ["torch", "numpy", "pyarrow", "pyworld", "safetensors", "soundfile", "soxr", "yaml"]

_ROOT = Path(__file__).resolve().parent
_PACKAGES = ("speech", "models", "respeak")
# For training and the command line, which want more packages than using a system does.
_LEFT_OUT = ("training", "acoustic_training", "soft_unit_training", "vocoder_training", "doctor")


def resynthesis(path: str, device: str = "auto") -> System:
    """A trained system with ``convert(wave, rate, target)``, ``resynthesize(wave, rate)`` and ``say(units, voice)``.

    Args:
        path: folder of its bundle.
        device: auto, cpu or cuda.
    """
    return _module("respeak.systems.resynthesis.system").System.load(path, device)


def code_generator(weights: str) -> UnitGenerator | WaveVQVAE:
    """The unit vocoder of a public checkpoint of Polyak et al. 2021 (a ``g_...`` file), in eval mode.

    ``model(units, f0, speaker)`` gives ``(B, 1, T)`` at 16 kHz. A checkpoint of the audio VQ-VAE gives that one.
    """
    return _public("resynthesis/code_generator", weights)


def f0_vqvae(weights: str) -> F0VQVAE:
    """The F0 quantiser of a public checkpoint: ``encode(f0)``, ``decode(codes)``, in eval mode."""
    return _public("resynthesis/f0_vqvae", weights)


def hubert_soft(
    pretrained: bool = True, progress: bool = True, path: str | None = None, map_location: Any = None
) -> Any:
    """HuBERT-Soft: ``units((B, 1, T))`` gives soft units ``(B, T // 320, 256)``; the waveform is at 16 kHz."""
    if not pretrained:
        return _module("models.encoders.soft").SoftHubert(100).eval()
    return _published("hubert-soft", path, progress, map_location)


def hubert_discrete(
    pretrained: bool = True,
    progress: bool = True,
    path: str | None = None,
    kmeans_path: str | None = None,
    map_location: Any = None,
) -> Any:
    """HuBERT-Discrete: ``units((1, 1, T))`` gives ``(T // 320,)`` int64 below 100.

    Without ``pretrained`` it has no centres; set ``centres`` to ``(K, 768)`` of its seventh layer.
    """
    if not pretrained:
        encoder = _module("models.encoders.hubert").Hubert(_module("models.softvc.public").DISCRETE_LAYER)
        return _module("models.encoders.soft").DiscreteHubert(encoder).eval()
    model = _published("hubert-discrete", path, progress, map_location)
    files = _module("respeak.systems.softvc.published_files")
    centres = files.read_kmeans(files.find(files.KMEANS, kmeans_path, progress))
    model.centres = centres.to(map_location or "cpu")
    return model


def kmeans100(progress: bool = True, path: str | None = None) -> Any:
    """The 100 centres of HuBERT Base's seventh layer: ``predict((N, 768))`` and ``cluster_centers_``."""
    files = _module("respeak.systems.softvc.published_files")
    return files.Centres(files.read_kmeans(files.find(files.KMEANS, path, progress)).numpy())


def acoustic_hubert_soft(
    pretrained: bool = True, progress: bool = True, path: str | None = None, map_location: Any = None
) -> Any:
    """The acoustic model of soft units, one voice: ``generate((B, N, 256))`` gives log-mels ``(B, 2 N, 128)``."""
    return _acoustic("acoustic-hubert-soft", 0, pretrained, progress, path, map_location)


def acoustic_hubert_discrete(
    pretrained: bool = True, progress: bool = True, path: str | None = None, map_location: Any = None
) -> Any:
    """The acoustic model of discrete units: ``generate((B, N))`` gives log-mels ``(B, 2 N, 128)``."""
    return _acoustic("acoustic-hubert-discrete", 100, pretrained, progress, path, map_location)


def hifigan(pretrained: bool = True, progress: bool = True, path: str | None = None, map_location: Any = None) -> Any:
    """The vocoder, of recordings' log-mels: the call takes ``(B, 128, M)`` to ``(B, 1, 160 M)``."""
    return _vocoder("hifigan", pretrained, progress, path, map_location)


def hifigan_hubert_soft(
    pretrained: bool = True,
    progress: bool = True,
    path: str | None = None,
    map_location: Any = None,
    swapped: bool = False,
) -> Any:
    """The vocoder fine-tuned on log-mels from soft units.

    ``swapped`` gives the file that the public hub gave under this name until 2023-07-19: the one named after discrete
    units. Which of the two was tuned on what, their code does not tell.
    """
    return _vocoder("hifigan-hubert-soft", pretrained, progress, path, map_location, swapped)


def hifigan_hubert_discrete(
    pretrained: bool = True,
    progress: bool = True,
    path: str | None = None,
    map_location: Any = None,
    swapped: bool = False,
) -> Any:
    """The vocoder fine-tuned on log-mels from discrete units; ``swapped`` as in `hifigan_hubert_soft`."""
    return _vocoder("hifigan-hubert-discrete", pretrained, progress, path, map_location, swapped)


def _acoustic(name: str, num_units: int, pretrained: bool, progress: bool, path: str | None, map_location: Any) -> Any:
    # As published, so that a batch of several sounds as theirs does.
    if not pretrained:
        return _module("models.softvc").AcousticModel(num_units=num_units, mask_padding=False).eval()
    model = _published(name, path, progress, map_location)
    model.mask_padding = False
    return model.prepare()


def _vocoder(
    name: str, pretrained: bool, progress: bool, path: str | None, map_location: Any, swapped: bool = False
) -> Any:
    name = _module("respeak.systems.softvc.published_files").SWAPPED[name] if swapped else name
    if pretrained:
        vocoder = _published(name, path, progress, map_location)
    else:
        vocoder = _module("models.softvc").Vocoder().eval()
    return vocoder.prepare()


def _published(name: str, path: str | None, progress: bool, map_location: Any) -> Any:
    files = _module("respeak.systems.softvc.published_files")
    return files.read(files.find(name, path, progress), files.FILES[name].kind, map_location)


def _public(kind: str, weights: str) -> Any:
    import torch

    public = _module("models.public")
    checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
    return public.load(kind, checkpoint).eval()


def _module(name: str) -> Any:
    return _import_ours()[name]


def _import_ours() -> dict[str, Any]:
    """Our modules by name; ``sys.modules`` keeps the caller's where it has any of the same name."""
    theirs = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in _PACKAGES and not _is_ours(module)
    }
    tops = {name: sys.modules.get(name) for name in _PACKAGES}
    for name in theirs:
        del sys.modules[name]
    sys.path.insert(0, str(_ROOT))
    try:
        ours = {name: importlib.import_module(name) for name in _names()}
    finally:
        sys.path.remove(str(_ROOT))
        sys.modules.update(theirs)
        # What our functions import when called is found by its full name; the short ones are the caller's to give.
        for name, module in tops.items():
            if module is None:
                sys.modules.pop(name, None)
    return ours


def _is_ours(module: Any) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(_ROOT)


def _names() -> list[str]:
    found = []
    for package in _PACKAGES:
        for path in sorted((_ROOT / package).rglob("*.py")):
            parts = path.relative_to(_ROOT).with_suffix("").parts
            if parts[-1] not in _LEFT_OUT and "cli" not in parts:
                found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found
