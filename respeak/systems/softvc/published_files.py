"""Soft-VC's published files: where they are, what is known of their bytes, and modules made of them.

Of each file only the first eight digits of its sha256 are published, in its name; give the whole digest if you have
it. Weights are by B. van Niekerk and colleagues (https://github.com/bshall, MIT). Two traps of their history: until
2023-07-19 the public hub gave under the name of one fine-tuned vocoder the file of the other (``swapped``), and what
was built on it then has it so; and the encoders of v0.1, still there, are of the same networks but of other weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from respeak.weights import PUBLIC, Public, cached
from speech.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_RELEASES = "https://github.com/bshall/{}/releases/download/{}/{}"


@dataclass(frozen=True)
class File:
    """A published file: its address, bytes (about), and what ``models.public.load`` makes of it."""

    url: str
    size: int
    kind: str

    @property
    def digest(self) -> str:
        """The digits of its sha256 that its name states."""
        return Path(self.url).stem.rpartition("-")[2]


def _file(repository: str, release: str, name: str, megabytes: float, kind: str) -> File:
    return File(_RELEASES.format(repository, release, name), round(megabytes * 1e6), f"softvc/{kind}")


FILES = {
    "hubert-soft": _file("hubert", "v0.2", "hubert-soft-35d9f29f.pt", 378, "hubert-soft"),
    "hubert-discrete": _file("hubert", "v0.2", "hubert-discrete-96b248c5.pt", 379, "hubert-discrete"),
    "acoustic-hubert-soft": _file("acoustic-model", "v0.1", "hubert-soft-0321fd7e.pt", 75, "acoustic-soft"),
    "acoustic-hubert-discrete": _file("acoustic-model", "v0.1", "hubert-discrete-d49e1c77.pt", 75, "acoustic-discrete"),
    "hifigan": _file("hifigan", "v0.1", "hifigan-67926ec6.pt", 57, "hifigan"),
    "hifigan-hubert-soft": _file("hifigan", "v0.1", "hifigan-hubert-soft-65f03469.pt", 57, "hifigan"),
    "hifigan-hubert-discrete": _file("hifigan", "v0.1", "hifigan-hubert-discrete-bbad3043.pt", 57, "hifigan"),
    # Superseded.
    "hubert-soft-v0.1": _file("hubert", "v0.1", "hubert-soft-0d54a1f4.pt", 378, "hubert-soft"),
    "hubert-discrete-v0.1": _file("hubert", "v0.1", "hubert-discrete-e9416457.pt", 379, "hubert-discrete"),
    "acoustic-hubert-soft-2022-05": _file("acoustic-model", "v0.1", "hubert-soft-aa8d82f5.pt", 75, "acoustic-soft"),
    "acoustic-hubert-discrete-2022-05": _file(
        "acoustic-model", "v0.1", "hubert-discrete-ffc42c75.pt", 75, "acoustic-discrete"
    ),
}
KMEANS = "SOFT_VC_KMEANS100"
# Names under which the hub gave another file before 2023-07-19.
SWAPPED = {"hifigan-hubert-soft": "hifigan-hubert-discrete", "hifigan-hubert-discrete": "hifigan-hubert-soft"}


class Centres:
    """k-means centres with what people use of scikit-learn's KMeans.

    Attributes:
        cluster_centers_: ``(K, D)`` float32.
    """

    def __init__(self, centres: Any) -> None:
        self.cluster_centers_ = centres
        self.n_clusters = len(centres)

    def predict(self, frames: Any) -> Any:
        """Return the nearest centre of each frame ``(N, D)``, array or tensor: ``(N,)`` int64 of the same sort."""
        import torch

        from models.kmeans import nearest

        given = torch.as_tensor(frames)
        found = nearest(given.float(), torch.as_tensor(self.cluster_centers_).to(given.device))[0]
        return found if isinstance(frames, torch.Tensor) else found.numpy()


def find(name: str, path: Path | str | None = None, progress: bool = True, sha256: str | None = None) -> Path:
    """Return the file of a name in ``FILES``, or of the centres: ``path``, or the cache's, fetched if it is not there.

    Raises:
        UserError: no such file, out of reach, or of other bytes.
    """
    from speech.fetching.downloads import fetch

    if path is not None:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file of weights")
        return Path(path)
    known: File | Public = PUBLIC[KMEANS] if name == KMEANS else FILES[name]
    digest = sha256 or Path(known.url).stem.rpartition("-")[2]
    return fetch(known.url, digest, cached(known.url), size=known.size, progress=progress)


def read(path: Path, kind: str, device: Any = None) -> Any:
    """Read the module, in evaluation mode, that a published file's weights make.

    Raises:
        UserError: the file is damaged, holds more than tensors, or the weights of something else.
    """
    import torch

    from models import public

    try:
        checkpoint = torch.load(path, map_location=device or "cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (the unpickler raises whatever a damaged or hostile file provokes)
        raise UserError(f"{path}: not a torch file of tensors only ({str(error).splitlines()[0]})") from None
    try:
        module = public.load(kind, checkpoint)
    except (RuntimeError, KeyError, AttributeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{path}: not the weights of {kind} ({reason})") from None
    return module.eval().to(device or "cpu")


def read_kmeans(path: Path) -> Tensor:
    """Read centres ``(K, D)`` float32 from a file; errors as ``respeak.encoders.centres.read_centres``."""
    import torch

    from respeak.encoders.centres import read_centres

    return torch.from_numpy(read_centres(path)[0])
