"""Weights from files of the user's, and from public addresses with a sha256.

Public files go to a cache, ``$RESPEAK_CACHE`` or ``~/.cache/respeak``, under the name of their address.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speech.errors import UserError
from speech.fetching.downloads import describe_size, fetch

_TORCHAUDIO = "https://download.pytorch.org/torchaudio/models/"
_LARGE = {"layers": 24, "heads": 16, "dim": 1024, "feed_forward": 4096}
_XLARGE = {"layers": 48, "heads": 16, "dim": 1280, "feed_forward": 5120}
_NORM_FIRST = {"front_end": "layer_norm", "norm_first": True, "normalise_wave": True}


@dataclass(frozen=True)
class Public:
    """A published file.

    Attributes:
        url: its address.
        size: bytes, about.
        licence: of the weights.
        kind: of encoder, or ``kmeans``.
        options: the encoder's.
    """

    url: str
    size: int
    licence: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


def _torchaudio(name: str, megabytes: int, **options: Any) -> Public:
    return Public(_TORCHAUDIO + name, megabytes * 10**6, "MIT", name.partition("_")[0], options)


# torchaudio's bundles by their names there (weights by the authors of fairseq), and Soft-VC's codebook.
PUBLIC = {
    "HUBERT_BASE": _torchaudio("hubert_fairseq_base_ls960.pth", 378),
    "HUBERT_LARGE": _torchaudio("hubert_fairseq_large_ll60k.pth", 1262, **_LARGE, **_NORM_FIRST),
    "HUBERT_XLARGE": _torchaudio("hubert_fairseq_xlarge_ll60k.pth", 3850, **_XLARGE, **_NORM_FIRST),
    "WAV2VEC2_BASE": _torchaudio("wav2vec2_fairseq_base_ls960.pth", 378),
    "WAV2VEC2_LARGE": _torchaudio("wav2vec2_fairseq_large_ls960.pth", 1262, **_LARGE),
    "WAV2VEC2_LARGE_LV60K": _torchaudio(
        "wav2vec2_fairseq_large_lv60k.pth", 1262, **_LARGE, **_NORM_FIRST, conv_bias=True
    ),
    "WAV2VEC2_XLSR53": _torchaudio("wav2vec2_fairseq_large_xlsr53.pth", 1262, **_LARGE, **_NORM_FIRST, conv_bias=True),
    "WAV2VEC2_XLSR_300M": _torchaudio("wav2vec2_xlsr_300m.pth", 1262, **_LARGE, **_NORM_FIRST, conv_bias=True),
    # 100 centres of HuBERT Base's layer 7 (van Niekerk et al. 2022).
    "SOFT_VC_KMEANS100": Public(
        "https://github.com/bshall/hubert/releases/download/v0.2/kmeans100-50f36a95.pt", 309_000, "MIT", "kmeans"
    ),
}


def cache_folder() -> Path:
    """Return the folder where public files are kept."""
    return Path(os.environ.get("RESPEAK_CACHE") or Path.home() / ".cache" / "respeak")


def cached(url: str) -> Path:
    """Return where the file of an address is, or would be."""
    return cache_folder() / url.rstrip("/").rpartition("/")[2]


def locate(source: str, path: str, sha256: str | None, section: str) -> Path:
    """Return the file or folder that parameters name, downloaded if need be.

    Args:
        source: ``file``, a name in ``PUBLIC``, or an address.
        path: the file or folder, for ``file``.
        sha256: what the downloaded file must have.
        section: of the parameters, for messages: ``encoder`` or ``kmeans``.

    Raises:
        UserError: nothing of that name, no sha256 to hold a download to, or the download failed.
    """
    if source == "file":
        if not Path(path).exists():
            raise UserError(f"{section}.path: {path}: no such file or folder")
        return Path(path)
    known = PUBLIC.get(source)
    if known is None and not source.startswith(("http://", "https://")):
        raise UserError(f"{section}: {source!r} is not 'file', an address, or one of {', '.join(PUBLIC)}")
    url, size = (known.url, known.size) if known else (source, None)
    if not sha256:
        raise UserError(
            f"{section}.sha256: needed to fetch {url} ({describe_size(size)}); give the digest that you trust, "
            f"or put the file somewhere yourself and name it in {section}.path"
        )
    return fetch(url, sha256, cached(url), size=size)
