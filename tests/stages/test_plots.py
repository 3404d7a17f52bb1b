"""``dvc plots show`` draws every plot that ``dvc.yaml`` names, from files as the stages write them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml

from flows.reproduction import find_dvc_program
from respeak.page.pictures import encode_png
from respeak.results.table import Cell, Row, Table, to_measured_csv
from stages import unit_quality
from stages.training.delivery import write_history

HISTORIES = {
    "systems/resynthesis": ["train/loss_mel", "valid/loss_mel", "train/loss_generator", "train/loss_discriminator"],
    "train_f0_vq": ["train/loss_f0", "valid/loss_f0"],
}


def write_outputs(root: Path, tables: Mapping[str, object]) -> None:
    """Two rows of each file that is drawn; the first steps know no validation, as in training."""
    for folder, series in HISTORIES.items():
        rows = [{"step": 50.0, **{name: 2.0 for name in series if name.startswith("train/")}}]
        write_history(root / folder / "history.csv", [*rows, {"step": 100.0, **dict.fromkeys(series, 1.0)}])
    cells = [{column.name: Cell(0.5) for column in unit_quality.COLUMNS}, {"wer": Cell(30.0)}]
    plotted = ((f"tables/plots/{name}", cells[1]) for name in tables)
    for folder, values in [("unit_quality", cells[0]), *plotted]:
        rows = [Row(name, name, "measured", values) for name in ("ours", "theirs")]
        (root / folder).mkdir(parents=True)
        columns = [*unit_quality.COLUMNS] if folder == "unit_quality" else [unit_quality.Column("wer", "WER %")]
        (root / folder / "measured.csv").write_text(to_measured_csv(Table("t", "c", columns, rows)))


@pytest.fixture
def shown(project: Path, tmp_path: Path) -> dict[str, list[dict]]:
    graph = yaml.safe_load((project / "dvc.yaml").read_text())
    tables, plots = yaml.safe_load((project / "params.yaml").read_text())["tables"], graph["plots"]
    made = graph["stages"]["tables"]["do"]["plots"]
    stages = {"tables": {"foreach": tables, "do": {"cmd": "true ${key}", "plots": made}}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages, "plots": plots}))
    write_outputs(tmp_path, tables)
    for name in tables:
        (tmp_path / f"tables/plots/{name}/phonemes.png").write_bytes(encode_png(np.zeros((4, 4), np.uint8)))
    for picture in (name for name in plots if isinstance(name, str)):
        (tmp_path / picture).write_bytes(encode_png(np.zeros((4, 4), np.uint8)))
    dvc = find_dvc_program()
    subprocess.run([dvc, "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    shutil.copytree(project / ".dvc/plots", tmp_path / ".dvc/plots")
    command = [dvc, "plots", "show", "--json", "--split"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert not answer.get("errors"), answer["errors"]
    return answer["data"]


def test_every_plot_is_drawn(project: Path, shown: dict[str, list[dict]]) -> None:
    plots = yaml.safe_load((project / "dvc.yaml").read_text())["plots"]
    named = {next(iter(plot)) if isinstance(plot, dict) else plot for plot in plots}
    tables = yaml.safe_load((project / "params.yaml").read_text())["tables"]
    named |= {f"tables/plots/{name}/{file}" for name in tables for file in ("measured.csv", "phonemes.png")}
    assert {name.removeprefix("dvc.yaml::") for name in shown} == named
    for name, (drawn,) in shown.items():
        if drawn["type"] == "image":
            assert drawn["url"].endswith(".png")
            continue
        points = drawn["anchor_definitions"]["<DVC_METRIC_DATA>"]
        assert len({json.dumps(point, sort_keys=True) for point in points}) >= 2, name


def test_steps_without_a_value_are_not_drawn_as_zeros(project: Path, shown: dict[str, list[dict]]) -> None:
    """A validation loss is known every few hundred steps; Vega takes the blanks between for zeros."""
    drawn = [plot for (plot,) in shown.values() if plot["type"] == "vega"]
    blank = 0
    for plot in drawn:
        content, points = plot["content"], plot["anchor_definitions"]["<DVC_METRIC_DATA>"]
        field = content["encoding"]["x" if content["mark"]["type"] == "bar" else "y"]["field"]
        assert content["transform"] == [{"filter": f"isValid(datum['{field}']) && datum['{field}'] !== ''"}]
        blank += sum(point[field] == "" for point in points)
    assert blank, "no plot of this test has a blank"


def test_every_plot_of_the_graph_has_such_a_template(project: Path) -> None:
    graph = yaml.safe_load((project / "dvc.yaml").read_text())
    of_stages = [plot for stage in graph["stages"].values() for plot in stage.get("do", stage).get("plots", [])]
    templates = {path.stem for path in (project / ".dvc/plots").glob("*.json")}
    for plot in (plot for plot in [*graph["plots"], *of_stages] if isinstance(plot, dict)):
        for name, settings in plot.items():
            assert settings["template"] in templates, name
