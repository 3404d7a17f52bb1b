"""Rewrite the Python files among the ``deps`` of dvc.yaml from what each stage really imports.

``python scripts/code_deps.py`` rewrites dvc.yaml; with ``--check`` it only says whether it would.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from speech.storage.files import atomic_path  # noqa: E402
from stages.runtime.imports import code_of  # noqa: E402


def expected(stage: dict[str, Any]) -> list[str]:
    """The stage's deps as they should be: its data as written, then its code."""
    found = re.search(r"-m (stages\.\w+)", stage["cmd"])
    if found is None:
        raise SystemExit(f"not a stage module: {stage['cmd']}")
    return [dep for dep in stage.get("deps", []) if not dep.endswith(".py")] + code_of(found[1])


def main() -> int:
    """Rewrite or check; returns the exit status."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=2, offset=0)
    yaml.width = 120
    path = PROJECT / "dvc.yaml"
    graph = yaml.load(path.read_text())
    changed = []
    for name, entry in graph["stages"].items():
        stage = entry.get("do", entry)
        deps = expected(stage)
        if list(stage.get("deps", [])) != deps:
            changed.append(name)
            stage["deps"] = deps
    if "--check" in sys.argv[1:]:
        print(f"deps out of date: {', '.join(changed)}" if changed else "deps match the imports")
        return 1 if changed else 0
    with atomic_path(path) as temporary:
        yaml.dump(graph, temporary)
    print(f"rewrote: {', '.join(changed) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
