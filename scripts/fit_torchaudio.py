"""Make torchaudio importable beside a CPU build of torch; change nothing where it already imports.

The registry's torchaudio 2.11 wheel is linked against CUDA (``libc10_cuda.so``), also where torch is a CPU build, and
then ``import torchaudio`` fails. Its Python code tolerates native libraries that are *absent*, and everything this
project uses of it (resampling, the HuBERT modules) is written in Python. So the libraries are moved aside, to
``torchaudio/lib.unused``: moving them back undoes it, as does ``pip install --force-reinstall --no-deps torchaudio``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CUDA_LIBRARIES = ("libc10_cuda", "libtorch_cuda", "libcudart", "libcuda.so", "libcublas", "libcudnn", "libnv")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter, so that a half-loaded library cannot confuse the next try."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def import_error(module: str) -> str:
    """The traceback of ``import module``, empty when it imports."""
    result = run_python(f"import {module}")
    return "" if result.returncode == 0 else result.stderr or f"exit status {result.returncode}"


def misses_cuda(error: str) -> bool:
    """Whether an import failed for want of a CUDA library, and not for another reason."""
    return "cannot open shared object file" in error and any(name in error for name in CUDA_LIBRARIES)


def package_folder(module: str) -> Path | None:
    """Where a package lies, found without importing it."""
    code = f"import importlib.util as u; s = u.find_spec('{module}'); print(s.origin if s else '')"
    origin = run_python(code).stdout.strip()
    return Path(origin).parent if origin else None


def move_libraries(source: Path, target: Path) -> list[str]:
    """Move every shared library of ``source`` to ``target``; returns their names."""
    target.mkdir(exist_ok=True)
    names = sorted(path.name for path in source.glob("*.so*"))
    for name in names:
        (source / name).replace(target / name)
    return names


def main() -> int:
    """Try, fit, try again; exits 1 where torchaudio does not import and this is not the reason."""
    folder = package_folder("torchaudio")
    if folder is None:
        print("torchaudio: not installed, nothing to fit")
        return 0
    error = import_error("torchaudio")
    if not error:
        print("torchaudio: imports, left as it is")
        return 0
    cpu_build = run_python("import torch, sys; sys.exit(torch.version.cuda is not None)").returncode == 0
    if not (cpu_build and misses_cuda(error)):
        print(f"torchaudio: does not import, and not for want of CUDA beside a CPU torch:\n{error}", file=sys.stderr)
        return 1
    unused = folder / "lib.unused"
    names = move_libraries(folder / "lib", unused)
    error = import_error("torchaudio")
    if error:
        move_libraries(unused, folder / "lib")
        print(f"torchaudio: does not import without its native libraries either; put back:\n{error}", file=sys.stderr)
        return 1
    print(f"torchaudio: linked against CUDA, torch is a CPU build: moved {', '.join(names)} to {unused}; imports now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
