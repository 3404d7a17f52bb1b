"""For ``torch.hub``: the published systems as modules, called as people call them.

    hub = "owner/respeak:main"    # or the folder of a clone, with source="local"
    hubert = torch.hub.load(hub, "hubert_soft")
    acoustic = torch.hub.load(hub, "acoustic_hubert_soft")
    hifigan = torch.hub.load(hub, "hifigan_hubert_soft")
    units = hubert.units(wave)                        # (1, 1, T) at 16 kHz to (1, T // 320, 256)
    mel = acoustic.generate(units).transpose(1, 2)    # (1, 128, 2 N)
    wave = hifigan(mel)                               # (1, 1, 320 N)

Public files go to ``$RESPEAK_CACHE`` or ``~/.cache/respeak``, held to the sha256 that is known of them; ``path`` names
a copy of your own. ``pretrained=False`` gives the network with random weights. A package named ``models``, ``speech``
or ``respeak`` that the caller has imported stays the caller's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

dependencies = ["torch", "torchaudio", "numpy", "safetensors", "soundfile", "soxr", "yaml"]

_HERE = Path(__file__).resolve().parent
_PACKAGES = ("models", "speech", "respeak")
_OURS: dict[str, ModuleType] = {}


def hubert_soft(
    pretrained: bool = True, progress: bool = True, path: str | None = None, map_location: Any = None
) -> Any:
    """HuBERT-Soft: ``units((B, 1, T))`` gives soft units ``(B, T // 320, 256)``; the waveform is at 16 kHz."""
    with _own_packages():
        from models.encoders.soft import SoftHubert

        if not pretrained:
            return SoftHubert(100).eval()
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
    with _own_packages():
        from models.encoders.hubert import Hubert
        from models.encoders.soft import DiscreteHubert
        from models.softvc.public import DISCRETE_LAYER
        from respeak.softvc_public import KMEANS, find, read_kmeans

        if not pretrained:
            return DiscreteHubert(Hubert(DISCRETE_LAYER)).eval()
        model = _published("hubert-discrete", path, progress, map_location)
        model.centres = read_kmeans(find(KMEANS, kmeans_path, progress)).to(map_location or "cpu")
        return model


def kmeans100(progress: bool = True, path: str | None = None) -> Any:
    """The 100 centres of HuBERT Base's seventh layer: ``predict((N, 768))`` and ``cluster_centers_``."""
    with _own_packages():
        from respeak.softvc_public import KMEANS, Centres, find, read_kmeans

        return Centres(read_kmeans(find(KMEANS, path, progress)).numpy())


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
    with _own_packages():
        from models.softvc import AcousticModel

        # As published, so that a batch of several sounds as theirs does.
        if not pretrained:
            return AcousticModel(num_units=num_units, mask_padding=False).eval()
        model = _published(name, path, progress, map_location)
        model.mask_padding = False
        return model.prepare()


def _vocoder(
    name: str, pretrained: bool, progress: bool, path: str | None, map_location: Any, swapped: bool = False
) -> Any:
    with _own_packages():
        from models.softvc import Vocoder
        from respeak.softvc_public import SWAPPED

        name = SWAPPED[name] if swapped else name
        vocoder = _published(name, path, progress, map_location) if pretrained else Vocoder().eval()
        vocoder.remove_weight_norm()
        return vocoder


def _published(name: str, path: str | None, progress: bool, map_location: Any) -> Any:
    from respeak.softvc_public import FILES, find, read

    return read(find(name, path, progress), FILES[name].kind, map_location)


@contextmanager
def _own_packages() -> Iterator[None]:
    """Inside, ``import models`` means ours, whatever package of that name the caller has; outside it is as before."""
    foreign = [name for name in sys.modules if _is_foreign(name)]
    theirs = {name: sys.modules.pop(name) for name in foreign}
    if theirs:
        sys.modules.update(_OURS)
    sys.path.insert(0, str(_HERE))
    try:
        yield
    finally:
        sys.path.remove(str(_HERE))
        if theirs:
            ours = [name for name in sys.modules if name.partition(".")[0] in _PACKAGES]
            _OURS.update({name: sys.modules.pop(name) for name in ours})
            sys.modules.update(theirs)


def _is_foreign(name: str) -> bool:
    root = name.partition(".")[0]
    if root not in _PACKAGES or root not in sys.modules:
        return False
    file = getattr(sys.modules[root], "__file__", None)
    return file is None or _HERE / root != Path(file).resolve().parent
