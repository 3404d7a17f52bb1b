"""``make clean``: remove what the graph made, by the outputs that ``dvc.yaml`` names, and what its runs left.

DVC's cache, ``dvc.lock`` and the environment stay, and so do recordings of the user's own: a folder that a corpus of
``params.yaml`` is read from is never removed, nor is anything that no stage makes.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

# What runs leave beside outputs: work in progress, servers' records, comparisons of sweeps.
RECORDS = (".scratch", ".prefect", "sweeps", "mlflow.db*", "mlartifacts")
_TEMPLATE = re.compile(r"\$\{[^}]+\}")


def main() -> int:
    """Remove it, a line for each folder of the project's root that is smaller for it."""
    root = Path.cwd()
    removed = clean(root)
    print(f"removed: {', '.join(sorted({path.relative_to(root).parts[0] for path in removed})) or 'nothing'}")
    return 0


def clean(root: Path) -> list[Path]:
    """Remove every output of the graph in ``root``, of whatever parameters; returns what was removed."""
    kept, removed = own_folders(root), list[Path]()
    for pattern in (*output_patterns(root), *RECORDS):
        for path in sorted(root.glob(pattern)):
            if any(path.resolve().is_relative_to(own) or own.is_relative_to(path.resolve()) for own in kept):
                continue
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            removed.append(path)
    for folder in sorted({parent for path in removed for parent in path.parents if parent != root}, reverse=True):
        if folder.is_relative_to(root) and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return removed


def output_patterns(root: Path) -> Iterator[str]:
    """Yield each output of ``dvc.yaml`` with a star for what a variant fills in, and those that ``dvc.lock`` knows."""
    lock = root / "dvc.lock"
    made = yaml.safe_load(lock.read_text())["stages"].values() if lock.is_file() else ()
    yield from (out["path"] for stage in made for out in stage.get("outs", []))
    for entry in yaml.safe_load((root / "dvc.yaml").read_text())["stages"].values():
        stage = entry.get("do", entry)
        for out in (out for part in ("outs", "metrics", "plots") for out in stage.get(part, [])):
            pattern = _TEMPLATE.sub("*", out if isinstance(out, str) else next(iter(out)))
            assert not pattern.startswith("*"), f"{out}: would be anything in the project's root"
            yield pattern


def own_folders(root: Path) -> list[Path]:
    """Return the folders that the corpora of ``params.yaml`` are read from."""
    params = root / "params.yaml"
    corpora = (yaml.safe_load(params.read_text()) or {}).get("corpora", {}) if params.is_file() else {}
    return [(root / corpus["root"]).resolve() for corpus in corpora.values()]


if __name__ == "__main__":
    sys.exit(main())
