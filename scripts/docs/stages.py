"""The reference page of the graph: every stage of ``dvc.yaml`` with what it reads, makes and depends on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

_TEMPLATE = re.compile(r"\$\{(?:key|item\.)?([^}]*)\}")


def stages_page(root: Path) -> str:
    """Return the page, made from ``dvc.yaml``."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    lines = [
        "# Stages",
        "",
        "One file each in `stages/`, in the order of `dvc.yaml`. `<name>` stands for the name of a variant, and a word",
        "in such brackets for what the variant's parameters say. Code is listed as DVC watches it: a change there runs",
        "the stage again.",
    ]
    for name, stage in stages.items():
        lines += ["", *_stage(name, stage)]
    return "\n".join(lines) + "\n"


def _stage(name: str, stage: dict[str, Any]) -> list[str]:
    what = stage.get("do", stage)
    inputs: list[str] = []
    code: list[str] = []
    for dependency in map(_plain, what.get("deps", [])):
        (code if _is_code(dependency) else inputs).append(dependency)
    outs = [_plain(out) for kind in ("outs", "metrics", "plots") for out in what.get(kind, [])]
    params = [_plain(section) for section in what.get("params", [])]
    rows = {
        "Variants": [_plain(stage["foreach"])] if isinstance(stage.get("foreach"), str) else [],
        "Reads": inputs,
        "Makes": list(dict.fromkeys(outs)),
        "Parameters": params,
        "Code": code,
    }
    head = f"| Command | `{_plain(what['cmd'])}` |"
    sentence = str(what.get("desc", ""))
    lines = [f"## {name}", "", f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}.", "", head, "|---|---|"]
    return lines + [f"| {title} | {_join(values)} |" for title, values in rows.items() if values]


def _is_code(path: str) -> bool:
    return path.endswith(".py") or path.split("/")[0] in {"flows", "stages", "respeak", "models", "speech"}


def _plain(value: Any) -> str:
    text = str(next(iter(value)) if isinstance(value, dict) else value)
    return _TEMPLATE.sub(lambda name: f"<{name[1] or 'name'}>", text)


def _join(values: list[str]) -> str:
    return "<br>".join(f"`{value}`" for value in values)
