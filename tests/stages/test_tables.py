from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any, cast

import pytest

from speech.errors import UserError
from speech.metrics.summary import UTTERANCES
from speech.shards import write_shard
from stages import tables
from stages.papers import polyak2021
from stages.runtime.params import Params, load_params
from stages.runtime.rendering import Cell, format_cell, to_csv, to_latex, to_markdown
from stages.runtime.stage import Stage

ERRORS = {"ground_truth": 0.1, "resynthesis": 0.3, "shuffled": 0.9, "untrained": 0.9}


@pytest.fixture()
def params(project: Path) -> Params:
    return load_params(project / "params.yaml")


@pytest.fixture()
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of four experiments with planted shares of wrong words; a hundred one-word utterances each."""
    monkeypatch.chdir(tmp_path)
    for name, share in ERRORS.items():
        rows = [
            {"id": f"u{i}", "source_id": f"u{i}", "word_errors": int(i < 100 * share), "words": 1} for i in range(100)
        ]
        write_shard(tmp_path / f"evaluate/{name}/utterances.parquet", rows, UTTERANCES)
        metrics = {"utterances": 100, "wer": 100 * share, "wer_low": 100 * share - 5, "wer_high": 100 * share + 5}
        if name != "ground_truth":
            metrics |= {"vde": 12.345, "vde_low": 11.0, "vde_high": 13.0}
        (tmp_path / f"evaluate/{name}/metrics.json").write_text(json.dumps(metrics))
    return tmp_path / "evaluate"


def test_the_stage_writes_and_prints_four_forms(
    params: Params, evaluated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Tracker:
        def log_artifact(self, path: Path) -> None:
            artifacts.append(path.name)

    artifacts: list[str] = []
    tables.run(Stage("tables", "polyak1", params, cast(Any, Tracker())))
    written = {path.name: path.read_text() for path in Path("tables/polyak1").iterdir()}
    assert sorted(written) == sorted(artifacts) == ["table.csv", "table.json", "table.md", "table.tex"]
    assert capsys.readouterr().out == written["table.md"] + "\n"
    assert json.loads(written["table.json"])["context"]["scale"] == params.scale


def test_rows_stand_beside_the_papers_with_paired_differences(params: Params, evaluated: Path) -> None:
    table = tables.make_table(params, "polyak1", evaluated)
    rows = {row.name: row for row in table.rows}
    assert [row.name for row in table.rows if row.source == "measured"] == list(ERRORS)
    difference = rows["resynthesis"].cells["wer_difference"]
    assert difference.value == pytest.approx(20.0)
    assert difference.low is not None
    assert 10 < difference.low < 20
    assert "wer_difference" not in rows["ground_truth"].cells
    assert {name: cell.value for name, cell in rows["paper:HuBERT:LJ"].cells.items()} == {
        "wer": 6.96,
        "vde": 13.09,
        "ffe": 15.00,
    }
    assert format_cell(rows["paper:VQ-VAE:LJ"].cells["wer"], 1) == "8.85"
    assert params.scale in table.caption
    assert "wav2vec 2.0" in table.caption


def test_what_is_no_better_than_shuffled_units_is_called_so(params: Params, evaluated: Path) -> None:
    notes = {row.name: row.note for row in tables.make_table(params, "polyak1", evaluated).rows}
    assert notes["ground_truth"] == notes["resynthesis"] == ""
    assert notes["shuffled"] == notes["untrained"] == "not intelligible"


def test_conversion_tables_carry_the_conversion_rows_without_flattened_f0(params: Params, evaluated: Path) -> None:
    experiment = dataclasses.replace(params.experiments["conversion"])
    changed = dataclasses.replace(params, experiments={**params.experiments, "resynthesis": experiment})
    table = tables.make_table(changed, "polyak1", evaluated)
    paper = [row for row in table.rows if row.source == "paper"]
    assert len(paper) == len(polyak2021.TABLE_2)
    assert not any(row.cells.keys() & {"vde", "ffe"} for row in paper)


def test_experiments_without_words_have_no_verdict(params: Params, evaluated: Path) -> None:
    for name in ERRORS:
        write_shard(evaluated / name / "utterances.parquet", [{"id": "u", "source_id": "u"}], UTTERANCES)
    rows = tables.make_table(params, "polyak1", evaluated).rows
    assert {row.note for row in rows if row.source == "measured"} == {""}


def test_missing_and_damaged_results_are_named(params: Params, evaluated: Path) -> None:
    path = evaluated / "shuffled/metrics.json"
    path.write_text("{")
    with pytest.raises(UserError, match=r"shuffled/metrics.json: not valid JSON"):
        tables.make_table(params, "polyak1", evaluated)
    path.unlink()
    with pytest.raises(UserError, match=r"shuffled/metrics.json: not found; run 'dvc repro evaluate@shuffled'"):
        tables.make_table(params, "polyak1", evaluated)


def test_forms_agree(params: Params, evaluated: Path) -> None:
    table = tables.make_table(params, "polyak1", evaluated)
    parsed = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert len(parsed) == len(table.rows)
    assert float(parsed[1]["vde"]) == 12.345
    assert parsed[0]["vde"] == ""
    body = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert len(body) == len(table.rows) + 2
    assert {line.count("|") for line in body} == {len(table.columns) + 3}
    assert "12.3 [11.0, 13.0]" in body[3]
    latex = to_latex(table)
    lines = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in lines} == {len(table.columns) + 1}
    assert r"WER \%" in latex
    assert "%" not in latex.replace(r"\%", "")


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "\u2013"),
        (Cell(3.14159), "3.1"),
        (Cell(1, 0.04, 2), "1.0 [0.0, 2.0]"),
        (Cell(-0.04, -2, 1), "0.0 [-2.0, 1.0]"),
    ],
)
def test_cells(cell: Cell | None, text: str) -> None:
    assert format_cell(cell, 1) == text


def test_published_rows_agree_with_the_papers_prose() -> None:
    by_name = {(table, row.method, row.data): row.values for table in (1, 2) for row in _table(table)}
    assert by_name[1, "VQ-VAE", "VCTK"]["vde"] == 5.20
    assert by_name[2, "VQ-VAE", "to VCTK"]["flat_vde"] == 7.03
    assert by_name[1, "HuBERT", "VCTK"]["wer"] < by_name[1, "CPC", "VCTK"]["wer"] < by_name[1, "VQ-VAE", "VCTK"]["wer"]


def _table(number: int) -> tuple[polyak2021.PaperRow, ...]:
    return polyak2021.rows_for("resynthesis" if number == 1 else "conversion")
