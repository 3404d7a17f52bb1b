"""MkDocs hook: reference pages made from the code, and flow charts drawn without a network.

`mkdocs.yml` names this file under `hooks`. The pages of `reference/` and the change log exist in the built site alone,
so that they cannot differ from the code they describe. A fenced block in the language ``mermaid`` becomes an SVG.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from scripts.docs.commands import commands_page
from scripts.docs.drawing import draw
from scripts.docs.formats import bundles_page, shards_page
from scripts.docs.modules import modules_page
from scripts.docs.parameters import parameter_pages
from scripts.docs.stages import stages_page

ROOT = Path(__file__).resolve().parents[2]
_MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PAGES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "reference/commands.md": ("Command line", commands_page),
    "reference/stages.md": ("Stages", stages_page),
    "reference/modules.md": ("Modules", modules_page),
    "reference/shards.md": ("Shards", shards_page),
    "reference/bundles.md": ("Bundles", bundles_page),
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add what `mkdocs.yml` does not name: the generated pages to `Reference`, further guides to `Guides`."""
    parameters = [{title: path} for path, (title, _) in parameter_pages(ROOT / "conf").items()]
    pages: list[dict[str, Any]] = [{title: path} for path, (title, _) in _PAGES.items()]
    guides = [f"guides/{path.name}" for path in sorted((ROOT / "docs/guides").glob("*.md"))]
    for section in config.nav or []:
        if "Guides" in section:
            named = {path for guide in section["Guides"] for path in guide.values()}
            section["Guides"] = [*section["Guides"], *(path for path in guides if path not in named)]
        if "Reference" in section:
            section["Reference"] = [*section["Reference"], *pages, {"Parameters": parameters}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages themselves."""
    pages = {path: content for path, (_, content) in parameter_pages(ROOT / "conf").items()}
    pages |= {path: make(ROOT) for path, (_, make) in _PAGES.items()}
    pages["changelog.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each block of Mermaid by a drawing of it."""
    return _MERMAID.sub(lambda block: draw(block[1]), markdown)
