"""A report of what this machine has and lacks: versions, weights, devices, and what ``params.yaml`` here asks for."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from respeak.weights import PUBLIC, cache_folder, cached
from speech.fetching.downloads import describe_size

# Distribution: what cannot be done without it. The first group is what any use needs.
CORE = ("torch", "numpy", "pyarrow", "safetensors", "soundfile", "soxr", "pyworld")
OTHERS = {
    "torchaudio": "encoders of HuBERT's family and judges",
    "lightning": "training",
    "dvc": "the graph",
    "prefect": "the flow",
    "mlflow": "tracked runs",
    "scikit-learn": "measures of the judges",
    "librosa": "measures of the judges",
    "Resemblyzer": "d-vectors",
    "pocketsphinx": "word error rates",
    "espeakng-loader": "the demo corpus",
    "distributed": "a Dask cluster",
}

Finding = tuple[str, bool, str]


def examine(params: Path) -> Iterator[Finding]:
    """Yield everything that is looked at: its topic, whether all is well, and one line."""
    yield "python", True, f"{platform.python_version()} on {platform.platform()}"
    yield from _packages()
    yield from _devices()
    folder = cache_folder()
    yield "disk", True, f"{_free(Path.cwd())} free here, {_free(folder)} free in {folder}"
    for name, public in PUBLIC.items():
        yield "weights", True, f"{name} {_state(cached(public.url))} ({_whence(public.url, public.size)})"
    if params.is_file():
        yield from _wanted(params)


def _packages() -> Iterator[Finding]:
    for name in CORE:
        version = _version(name)
        yield "package", version is not None, f"{name} {version or 'is missing: nothing works without; run make'}"
    for name, use in OTHERS.items():
        version = _version(name)
        yield "package", True, f"{name} {version or f'is not installed; needed for {use}'}"
    if _version("torchaudio") is None:
        return
    try:
        import torchaudio.models  # noqa: F401 (a wheel of another build imports torch, then fails)
    except (ImportError, OSError) as error:
        yield (
            "package",
            False,
            f"torchaudio does not import ({str(error).splitlines()[0]}); run scripts/fit_torchaudio.py",
        )


def _devices() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if _version("torch") is None:
        return
    import torch

    count = torch.cuda.device_count()
    bfloat16 = "in hardware" if torch.backends.mkldnn.is_available() and _cpu_bfloat16() else "slower than float32"
    yield (
        "device",
        True,
        f"cpu: {cores} cores to use, {torch.get_num_threads()} threads by default, bfloat16 {bfloat16}",
    )
    for index in range(count):
        facts = torch.cuda.get_device_properties(index)
        yield "device", True, f"cuda:{index}: {facts.name}, {describe_size(facts.total_memory)}"
    if not count:
        yield "device", True, "no GPU that torch can use"


def _cpu_bfloat16() -> bool:
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(flag in flags.read_text() for flag in ("avx512_bf16", "amx_bf16"))


def _wanted(params: Path) -> Iterator[Finding]:
    """Yield what the sections ``encoder`` and ``kmeans`` name."""
    try:
        settings = yaml.safe_load(params.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield "params", False, f"{params}: not valid YAML: {' '.join(str(error).split())}"
        return
    for section, key, without in (("encoder", "weights", ("none", "random")), ("kmeans", "source", ("fit",))):
        values: dict[str, Any] = settings.get(section) or {}
        source = str(values.get(key, without[0]))
        if source not in without:
            yield (section, *_source(section, key, source, values))


def _source(section: str, key: str, source: str, values: dict[str, Any]) -> tuple[bool, str]:
    if source == "file":
        path = Path(str(values.get("path")))
        return path.exists(), f"{section}.path: {path} {'is there' if path.exists() else 'is missing'}"
    known = PUBLIC.get(source)
    if known is None and not source.startswith(("http://", "https://")):
        return False, f"{section}.{key}: {source!r} is no public name"
    url, size = (known.url, known.size) if known else (source, None)
    there = cached(url).is_file()
    hint = "" if values.get("sha256") else f"; set {section}.sha256"
    ready = there and bool(values.get("sha256"))
    return ready, f"{section}.{key}: {source} {_state(cached(url))} ({_whence(url, size)}){hint}"


def _state(path: Path) -> str:
    return f"is at {path}" if path.is_file() else "is missing"


def _whence(url: str, size: int | None) -> str:
    return f"{url}, {describe_size(size)}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _free(path: Path) -> str:
    while not path.exists():
        path = path.parent
    return describe_size(shutil.disk_usage(path).free)
