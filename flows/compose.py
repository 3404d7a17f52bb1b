"""``params.yaml`` composed from ``conf/`` by Hydra, as ``dvc exp run -S`` does.

python -m flows.compose                   of conf/'s defaults
python -m flows.compose scale=smoke       with overrides
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import yaml

from flows.children import run_command
from speech.errors import UserError
from speech.storage.files import atomic_path
from stages.params.whole import load_params
from stages.tracking.tracker import flatten


def compose_params(root: Path, overrides: Sequence[str]) -> None:
    """Write ``params.yaml`` from ``conf/`` with Hydra ``overrides``, as ``dvc exp run -S`` does; all of it is checked.

    Raises:
        UserError: an override that Hydra or a stage would refuse; ``params.yaml`` is then as it was.
    """
    with atomic_path(root / "params.yaml") as path:
        compose(root, overrides, path)


def compose(root: Path, overrides: Sequence[str], target: Path) -> None:
    """Write what ``compose_params`` would to another file, a ``.yaml``; errors as there."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        with Repo(os.fspath(root)) as repo:
            settings = repo.config.get("hydra", {})
        folder = os.fspath(root / settings.get("config_dir", "conf"))
        name, plugins = settings.get("config_name", "config"), os.fspath(root / settings.get("plugins_path", ""))
        compose_and_dump(os.fspath(target), folder, None, name, plugins, list(overrides))
    except (DvcException, HydraException, OmegaConfBaseException) as error:
        raise UserError(f"-S {' -S '.join(overrides)}: {_refusal(one_line(error), root)}") from error
    try:
        load_params(target)
    except UserError as error:
        text = str(error).removeprefix(f"{target.name}: ")
        raise UserError(f"-S {' -S '.join(overrides)}: {text}" if overrides else f"conf: {text}") from None


def _refusal(text: str, root: Path) -> str:
    """Return Hydra's message about an override, in our words where it is a name that does not exist."""
    if found := re.match(r"Could not override '(\S+)'", text):
        return f"there is no parameter '{found[1]}'{_similar(found[1], root)}; conf/ explains them all"
    if found := re.search(r"Could not find '(\w+)/(\w+)' Available options in '\w+': ([\w ]+) Config search", text):
        return f"there is no {found[1]} '{found[2]}'; there are {', '.join(found[3].split())}"
    return text


def _similar(name: str, root: Path) -> str:
    known = yaml.safe_load((root / "params.yaml").read_text()) if (root / "params.yaml").is_file() else {}
    keys, last = list(flatten(known)), name.rpartition(".")[2]
    near = [key for key in keys if key.rpartition(".")[2] == last] or difflib.get_close_matches(name, keys)
    return f" (did you mean {' or '.join(near[:3])}?)" if near else ""


def one_line(error: BaseException) -> str:
    """Return an error's message, and its cause's, as one line."""
    text = " ".join(str(error).split())
    return f"{text}: {one_line(error.__cause__)}" if error.__cause__ is not None else text


def main() -> int:
    """Compose what the words of the command line state (``make params``); return the exit status."""

    def body(interrupted: threading.Event) -> int:
        compose_params(Path.cwd(), sys.argv[1:])
        return 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
