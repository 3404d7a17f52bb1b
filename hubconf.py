"""torch.hub entries: ``torch.hub.load("<owner>/<repository>", "system", "systems/resynthesis")``.

Soft-VC's published models, called as people call them::

    hubert, acoustic, hifigan = (torch.hub.load(hub, name) for name in ("hubert_soft", "acoustic_hubert_soft",
                                                                        "hifigan_hubert_soft"))
    units = hubert.units(wave)                        # (1, 1, T) at 16 kHz to (1, T // 320, 256)
    mel = acoustic.generate(units).transpose(1, 2)    # (1, 128, 2 N)
    wave = hifigan(mel)                               # (1, 1, 320 N)

Their files go to ``$RESPEAK_CACHE`` or ``~/.cache/respeak``, held to the sha256 that is known of them; ``path`` names a
copy of your own; ``pretrained=False`` gives the network with random weights.

What is loaded works wherever it is called, even where the caller has other packages named ``models`` or ``speech``:
what an entry can reach of ours is imported while torch.hub looks, and the caller keeps its own under those names.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.resynthesis import F0VQVAE, UnitGenerator, WaveVQVAE
    from respeak import System

dependencies = ["torch", "numpy", "pyarrow", "pyworld", "safetensors", "scipy", "soundfile", "soxr", "yaml"]

_ROOT = Path(__file__).resolve().parent
_PACKAGES = ("speech", "models", "respeak")
_REGISTRY = "respeak.systems.registry"
_CHECKPOINTS = "models.public"
_OURS: dict[str, Any] = {}


def system(path: str, device: str = "auto") -> System:
    """A trained system, whichever the bundle holds: ``convert(wave, rate, target)``; see ``respeak.System``.

    Args:
        path: folder of its bundle.
        device: auto, cpu or cuda.
    """
    name = _module(_REGISTRY).system_of(path).name
    return _module(f"respeak.systems.{name}.system").System.load(path, device)


def resynthesis(path: str, device: str = "auto") -> System:
    """A trained resynthesis system: also ``resynthesize(wave, rate)`` and ``synthesize_units(units, voice)``.

    Args:
        path: folder of its bundle.
        device: auto, cpu or cuda.
    """
    return _module("respeak.systems.resynthesis.system").Resynthesis.load(path, device)


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
    """One of our modules, imported with all that it can reach; ``sys.modules`` keeps the caller's of the same names."""
    theirs = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in _PACKAGES and not _is_ours(module)
    }
    tops = {name: sys.modules.get(name) for name in _PACKAGES}
    for other in theirs:
        del sys.modules[other]
    sys.modules.update(_OURS)
    sys.path.insert(0, str(_ROOT))
    try:
        for reached in _reached(name):
            importlib.import_module(reached)
        _OURS.update({name: sys.modules[name] for name in sys.modules if name.partition(".")[0] in _PACKAGES})
    finally:
        sys.path.remove(str(_ROOT))
        sys.modules.update(theirs)
        # What our functions import when called is found by its full name; the short ones are the caller's to give.
        for top, module in tops.items():
            if module is None:
                sys.modules.pop(top, None)
    return _OURS[name]


def _is_ours(module: Any) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(_ROOT)


def _reached(root: str) -> list[str]:
    """Our modules that one leads to by its imports, those in functions too; of systems, what all declare and load."""
    found, queue = [], [root]
    while queue:
        name = queue.pop()
        if name in found or _file(name) is None:
            continue
        found.append(name)
        queue += _imports(name)
        if name == _REGISTRY:
            systems = sorted(path.parent.name for path in (_ROOT / "respeak/systems").glob("*/system.py"))
            found += [module for name in systems if (module := f"respeak.systems.{name}.system") not in (root, *found)]
        if name == _CHECKPOINTS:
            queue += [f"models.{path.parent.name}.public" for path in sorted((_ROOT / "models").glob("*/public.py"))]
    return found


def _imports(name: str) -> Iterator[str]:
    path = _file(name)
    assert path is not None, "only our own modules are read"
    for node in _running(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield node
            yield from _running(node)


def _file(name: str) -> Path | None:
    base = _ROOT.joinpath(*name.split("."))
    found = [path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()]
    return found[0] if found and name.partition(".")[0] in _PACKAGES else None
