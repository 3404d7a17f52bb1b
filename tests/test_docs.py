"""README and documentation: short, true, and whole without a network."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer.main
import yaml

from respeak.cli.app import app, main
from scripts.docs.commands import commands
from scripts.docs.drawing import draw, edges
from scripts.docs.parameters import parameters
from tests.respeak import tiny
from tests.written import blocks, code, links, overrides, pages

PROJECT = Path(__file__).resolve().parents[1]
PAGES = pages(PROJECT)
README_WORDS = 700
# Files of the site that `mkdocs build` makes, and pages of the repository name: made from the code.
GENERATED = ("reference/", "changelog.md")
# The system that docs/guides/add-a-system.md adds as an example.
INVENTED = "/hush/"

every_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(PROJECT)) for page in PAGES])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    if importlib.util.find_spec("mkdocs") is None and os.environ.get("CI") != "true":
        pytest.skip("needs mkdocs-material: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_readme_is_read_in_three_minutes() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert len(readme.split()) <= README_WORDS
    assert "Converting a person's voice needs that person's consent." in readme


def test_the_site_is_built_without_a_warning_and_read_without_a_network(site: Path) -> None:
    html = sorted(site.rglob("*.html"))
    assert len(html) > len(PAGES)
    loaded = re.compile(
        r"<(?:script|img|iframe|audio|source|link rel=\"?(?:stylesheet|icon|preconnect))[^>]*https?://[^>]*>"
    )
    for page in html:
        text = page.read_text(encoding="utf-8")
        assert not loaded.findall(text), page
        assert 'class="mermaid"' not in text, f"{page}: the browser would fetch Mermaid to draw it"
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?https?:", style.read_text(encoding="utf-8")), style


def test_the_reference_leaves_out_no_stage_command_or_parameter(site: Path) -> None:
    reference = {path.stem: path.read_text(encoding="utf-8") for path in site.glob("reference/*.html")}
    for stage in yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]:
        assert f'id="{stage}"' in reference["stages"], stage
    for name in commands(typer.main.get_command(app)):
        assert f"respeak {name}" in reference["commands"], name
    shown = "".join(path.read_text(encoding="utf-8") for path in site.glob("reference/parameters/*.html"))
    for path in (PROJECT / "conf").rglob("*.yaml"):
        for row in parameters(path.read_text(encoding="utf-8")):
            assert f"<code>{row.key}</code>" in shown, f"{path}: {row.key}"


def test_the_comments_of_a_parameter_are_found_around_it() -> None:
    text = (
        "# Head.\na:  # the section\n  b: [1, 2]     # what, in Hz\n                # and why\n"
        "  # of c alone\n  c: '#no'\nd: {e: 1}  # of d\nf:\n  g: 2\n"
    )
    rows = {row.key: (row.value, row.meaning) for row in parameters(text)}
    assert rows == {
        "a": ("", "the section"),
        "a.b": ("[1, 2]", "what, in Hz and why"),
        "a.c": ("'#no'", "of c alone"),
        "d": ("{e: 1}", "of d"),
        "f.g": ("2", ""),
    }


@every_page
def test_links_lead_to_files(page: Path) -> None:
    for target in links(page):
        path = (page.parent / target).resolve()
        made = page.is_relative_to(PROJECT / "docs") and path.is_relative_to(PROJECT / "docs")
        if not (made and str(path.relative_to(PROJECT / "docs")).startswith(GENERATED)):
            assert path.is_file(), f"{page.name} points to {target}"


@every_page
def test_commands_and_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    known = commands(typer.main.get_command(app))
    for piece in code(page):
        if found := re.match(r"make ([a-z]+)", piece):
            assert found[1] in targets, piece
        if found := re.match(r"respeak ((?:corpus )?[a-z-]+)", piece):
            assert found[1] in known, piece
            options = {option for parameter in known[found[1]].params for option in parameter.opts}
            assert set(re.findall(r"(?<=\s)--[a-z-]+", piece)) <= options, piece
        for module in re.findall(r"python -m ([\w.]+)", piece):
            assert importlib.util.find_spec(module), piece
        if found := re.match(
            r"(?:bash )?((?:scripts|stages|flows|respeak|models|speech|conf|tests)/[\w./]+)(?: |$)", piece
        ):
            assert INVENTED in found[1] or (PROJECT / found[1]).exists(), piece


@every_page
def test_parameters_exist(page: Path) -> None:
    known, groups = _keys()
    for piece in code(page):
        for key in overrides(piece):
            if not key.startswith("corpora."):  # names of corpora are the user's
                assert key in known or key in groups, f"{page.name}: '{piece}' names no parameter '{key}'"
        if re.fullmatch(r"[a-z]\w*(\.[a-z]\w*)+", piece) and piece.split(".")[0] in {
            key.split(".")[0] for key in known
        }:
            assert piece in known or piece.split(".")[-1] in ("py", "md", "json", "yaml"), f"{page.name}: {piece}"


def test_the_flow_chart_has_every_stage_but_those_on_the_page_of_their_system() -> None:
    (chart,) = [block.text for block in blocks(PROJECT / "docs/architecture.md") if block.language == "mermaid"]
    drawn = {name for a, b, _ in edges(chart) for name in (a, b)}
    stages = set(yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"])
    named = {piece for page in (PROJECT / "docs/systems").glob("*.md") for piece in code(page)}
    assert drawn <= stages <= drawn | named
    assert draw(chart).count("<rect") == len(drawn)


def test_flow_charts_are_read_as_mermaid_reads_them() -> None:
    assert edges("flowchart TD\n  a & b --> c -.-> d\n  d -. only so .-> e\n") == [
        ("a", "c", False),
        ("b", "c", False),
        ("c", "d", True),
        ("d", "e", True),
    ]
    with pytest.raises(ValueError, match="circle"):
        draw("a --> b --> a")
    with pytest.raises(ValueError, match="plain name"):
        draw("a --> b[label]")


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "SPEAKERS", {"gemma": 200.0, "irene": 180.0, "boris": 110.0})
    vectors = {name: np.eye(256, dtype=np.float32)[row] for row, name in enumerate(tiny.SPEAKERS)}
    tiny.make_bundle(tmp_path / "systems/resynthesis", vectors=vectors)
    for number in range(10):
        speaker = ("gemma", "boris")[number % 2]
        (tmp_path / "recordings" / speaker).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / f"recordings/{speaker}/{number}.wav", _hum(120.0 + 10 * number), 22050)
    soundfile.write(tmp_path / "in.wav", _hum(150.0), 44100)
    monkeypatch.chdir(tmp_path)
    run = [block for block in blocks(PROJECT / "docs/tutorial.md") if not block.full_graph]
    for block in run:
        if block.language == "python":
            exec(compile(block.text, "tutorial.md", "exec"), {})
        else:
            assert block.language == "sh"
            _run_here(block.text, monkeypatch)
    for made in ("units.tsv", "again.wav", "out.wav", "higher.wav", "resynthesised/boris/1.wav", "judged/table.md"):
        assert (tmp_path / made).is_file(), made
    assert sum(block.language == "python" for block in run) == 1


def _run_here(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run lines of shell, the command `respeak` in this process: a new one would load torch every time."""
    for line in shell.splitlines():
        words = shlex.split(line, comments=True)
        if words[0] != "respeak":
            subprocess.run(["bash", "-ec", line], check=True)
            continue
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as caught:
            main()
        assert not caught.value.code, line


def _hum(hz: float) -> np.ndarray:
    time = np.arange(12000) / 22050
    return (0.2 * np.sin(2 * np.pi * hz * time) + 0.1 * np.sin(4 * np.pi * hz * time)).astype(np.float32)


@functools.cache
def _keys() -> tuple[set[str], set[str]]:
    """Return every key of `conf/` with its sections, and the names of groups that are chosen from."""
    folder = PROJECT / "conf"
    rows = [row for path in folder.rglob("*.yaml") for row in parameters(path.read_text(encoding="utf-8"))]
    keys = [row.key for row in rows]
    for row in rows:  # mappings in one line
        value = yaml.safe_load(row.value) if row.value.startswith("{") else None
        keys += [f"{row.key}.{name}" for name in value or {}]
    sections = {key.rsplit(".", drop)[0] for key in keys for drop in range(1, key.count(".") + 1)}
    groups = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()}
    return set(keys) | sections, groups
