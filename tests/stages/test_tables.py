from __future__ import annotations

import csv
import dataclasses
import importlib
import io
import json
import re
from pathlib import Path
from typing import Any, cast

import pytest

from respeak.results import console, phoneme_table
from respeak.results.table import Cell, format_cell, to_csv, to_json, to_latex, to_markdown, to_measured_csv
from speech.errors import UserError
from speech.metrics.summary import TRIALS, UTTERANCES
from speech.storage.shards import write_shard
from stages import tables
from stages.papers.registry import all_tables, papers
from stages.params.experiments import Experiment
from stages.params.tables import PaperTable
from stages.params.whole import Params, load_params
from stages.runtime.stage import Stage

ERRORS = {"ground_truth": 0.1, "resynthesis": 0.3, "conversion": 0.6, "flat": 0.35, "shuffled": 0.9, "untrained": 0.9}
PNG = b"\x89PNG"
REGISTRY = all_tables()
OWN = {"resynthesis": "polyak1", "conversion": "polyak2", "flat": "polyak2"}


@pytest.fixture()
def params(project: Path) -> Params:
    """Every table of every paper, whether it has experiments of its own or not, and the experiments of `evaluated`."""
    known = {
        name: PaperTable(paper)
        for paper in papers()
        for name in importlib.import_module(f"stages.papers.{paper}").TABLES
    }
    params = load_params(project / "params.yaml")
    return dataclasses.replace(params, tables=known, experiments={name: params.experiments[name] for name in ERRORS})


@pytest.fixture()
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of six experiments with planted shares of wrong words; a hundred one-word utterances each."""
    monkeypatch.chdir(tmp_path)
    for name, share in ERRORS.items():
        rows = [
            {"id": f"u{i}", "source_id": f"u{i}", "word_errors": int(i < 100 * share), "words": 1} for i in range(100)
        ]
        folder = judged(tmp_path, name)
        write_shard(folder / "utterances.parquet", rows, UTTERANCES)
        write_shard(folder / "trials.parquet", [], TRIALS)
        metrics = {"utterances": 100, "wer": 100 * share, "wer_low": 100 * share - 5, "wer_high": 100 * share + 5}
        if name != "ground_truth":
            metrics |= {"vde": 12.345, "vde_low": 11.0, "vde_high": 13.0}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return tmp_path


def judged(project: Path, experiment: str) -> Path:
    """Where an experiment's results lie."""
    return project / "evaluate" / OWN.get(experiment, "common") / experiment


def made(params: Params, evaluated: Path, name: str = "polyak1") -> dict[str, dict[str, str]]:
    """The table's cells as they are shown, by row label and column name, with the row's note."""
    table = tables.make_table(params, name, evaluated)
    return {
        row.label: {c.name: format_cell(row.cells.get(c.name), c.digits) for c in table.columns} | {"note": row.note}
        for row in table.rows
    }


@pytest.mark.parametrize("name", REGISTRY)
def test_the_stage_writes_the_files_that_the_registry_lists(
    params: Params, evaluated: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    class Tracker:
        def log_artifact(self, path: Path) -> None:
            artifacts.append(path.name)

    artifacts: list[str] = []
    tables.run(Stage("tables", name, params, cast(Any, Tracker())))
    assert sorted(path.name for path in Path(f"tables/{name}").iterdir()) == sorted(REGISTRY[name].files)
    assert sorted(path.name for path in Path(f"tables/plots/{name}").iterdir()) == sorted(REGISTRY[name].plots)
    written = contents(name)
    assert sorted(written) == sorted(artifacts)
    printed = capsys.readouterr().out
    assert f"tables/{name}/table.md" in printed
    assert max(map(len, printed.splitlines())) <= console.WIDTH
    assert json.loads(written["table.json"])["context"]["scale"] == params.scale
    assert written.get("phoneme_table.png", PNG).startswith(PNG)
    tables.run(Stage("tables", name, params, cast(Any, Tracker())))
    assert contents(name) == written


def contents(table: str) -> dict[str, bytes]:
    folders = (Path("tables") / table, Path("tables/plots") / table)
    return {path.name: path.read_bytes() for folder in folders for path in folder.iterdir()}


def test_phonemes_stand_beside_the_papers_figure(params: Params, evaluated: Path) -> None:
    """Every other TH heard as F, in discrete and in soft units; the paper's figure has 31 and 18.9 % there."""
    run = ("softvc_discrete", "softvc_soft")
    for number, name in enumerate(run):
        heard = {"phones_said": "TH IH NG", "phones": 3, "phoneme_errors": 0}
        rows = [
            {"id": f"u{i}", "source_id": f"u{i}", **heard, "phones_heard": "F IH NG" if i % 2 > number else "TH IH NG"}
            for i in range(20)
        ]
        write_shard(evaluated / f"{name}/utterances.parquet", rows, UTTERANCES)
    labels, files = {n: n for n in run}, {n: evaluated / f"{n}/utterances.parquet" for n in run}
    paper = REGISTRY["softvc1"].paper.phonemes
    found = list(
        csv.DictReader(io.StringIO(phoneme_table.to_csv(phoneme_table.phoneme_rows(labels, files, paper, 100, 0))))
    )
    cells = {(row["system"], row["phone"]): row for row in found}
    assert len(cells) == len(found) == 2 * len(paper["softvc_soft"])
    discrete, soft = (cells[name, "TH"] for name in run)
    assert (discrete["said"], discrete["errors"], discrete["per"], discrete["paper"]) == ("20", "10", "50.0", "31.0")
    assert (soft["per"], soft["paper"], soft["ipa"]) == ("0.0", "18.9", "θ")
    assert 20 < float(discrete["per_low"]) < 50 < float(discrete["per_high"]) < 80
    assert cells["softvc_soft", "ZH"]["per"] == ""


@pytest.mark.parametrize("name", REGISTRY)
def test_rows_are_the_papers_in_its_order_and_the_anchors(params: Params, evaluated: Path, name: str) -> None:
    table = tables.make_table(params, name, evaluated)
    published = [row.label for row in REGISTRY[name].paper.rows]
    assert [row.label for row in table.rows][: len(published)] == published
    played = {e for row in REGISTRY[name].paper.rows for e in row.experiments.values()}
    below = {row.name for row in table.rows[len(published) :]}
    assert played | below >= {"ground_truth", "shuffled", "untrained"}


def test_ours_stands_beside_the_papers_value(params: Params, evaluated: Path) -> None:
    rows = made(params, evaluated)
    assert rows["VCTK: HuBERT"]["wer_paper"] == "11.44"
    assert rows["VCTK: HuBERT"]["wer"] == "30.0 [25.0, 35.0]"
    assert rows["LJ: HuBERT"] | {"wer_paper": "6.96", "vde_paper": "13.09", "ffe_paper": "15.00"} == rows["LJ: HuBERT"]
    assert rows["LJ: HuBERT"]["wer"] == "not run"
    assert rows["VCTK: HuBERT"]["per"] == "\N{EN DASH}"  # run, but no phonemes judged
    assert "mfcc units" in rows["VCTK: HuBERT"]["note"]
    assert "data set as reconstructed" in rows["VCTK: GT"]["note"]
    low = re.fullmatch(r"20\.0 \[(.*), .*\]", rows["VCTK: HuBERT"]["wer_difference"])
    assert low is not None
    assert 10 < float(low[1]) < 20


def test_flattened_f0_has_columns_of_its_own(params: Params, evaluated: Path) -> None:
    path = judged(evaluated, "flat") / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vde": 41.0, "vde_low": 40.0, "vde_high": 42.0}))
    row = made(params, evaluated, "polyak2")["to VCTK: HuBERT"]
    assert (row["vde_flat_paper"], row["vde_flat"]) == ("23.46", "41.0 [40.0, 42.0]")
    assert row["vde"] == "12.3 [11.0, 13.0]" and row["wer"].startswith("60.0")
    assert row["wer_difference"].startswith("50.0")
    assert "conversion" in row["note"] and "flat" in row["note"]


def test_what_was_done_to_a_melody_is_in_the_label() -> None:
    plain = Experiment("resynthesis", "x", "resynthesis", "own", "trained")
    assert tables.describe("resynthesis", plain) == "resynthesis"
    changed = dataclasses.replace(plain, task="conversion", voices="unseen", semitones=-2.0, span=0.5, melody="other")
    label = tables.describe("tried", changed)
    assert label == (
        "tried (resynthesis: conversion, unseen voices, another's F0, F0 \N{MINUS SIGN}2 semitones, F0 range \xd7 0.5)"
    )
    assert tables.describe("flat", dataclasses.replace(plain, span=0.0)) == "flat (resynthesis, flat F0)"


def test_listening_tests_carry_the_papers_value_alone(params: Params, evaluated: Path) -> None:
    rows = made(params, evaluated)
    assert rows["LJ: CPC"]["mos_paper"] == "3.31 ± 0.33"
    assert {row["mos"] for row in rows.values()} == {"human, not run"}


def test_a_predicted_mos_has_a_column_of_its_own(params: Params, evaluated: Path) -> None:
    path = judged(evaluated, "resynthesis") / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "utmos": 3.21}))
    rows = made(params, evaluated)
    assert rows["VCTK: HuBERT"]["utmos"] == "3.21"
    assert rows["VCTK: HuBERT"]["mos"] == "human, not run"


def test_what_is_no_better_than_shuffled_units_is_called_so(params: Params, evaluated: Path) -> None:
    rows = made(params, evaluated)
    called = {label for label, row in rows.items() if "not intelligible" in row["note"]}
    assert called == {"resynthesis, shuffled units", "resynthesis, untrained"}


def test_what_says_nothing_is_not_intelligible_beside_units_that_say_too_much(params: Params, evaluated: Path) -> None:
    errors = {"shuffled": 12, "untrained": 10, "resynthesis": 3}
    for name, wrong in errors.items():
        rows = [{"id": f"u{n}", "source_id": f"u{n}", "words": 10, "word_errors": wrong} for n in range(8)]
        write_shard(judged(evaluated, name) / "utterances.parquet", rows, UTTERANCES)
        metrics = {"utterances": 8.0, "wer": 10.0 * wrong, "wer_low": 10.0 * wrong, "wer_high": 10.0 * wrong}
        (judged(evaluated, name) / "metrics.json").write_text(json.dumps(metrics))
    called = {label for label, row in made(params, evaluated).items() if "not intelligible" in row["note"]}
    assert called == {"resynthesis, shuffled units", "resynthesis, untrained"}


def test_claims_are_settled_by_the_paired_difference(params: Params, evaluated: Path) -> None:
    found = {f.words: f for f in tables.make_table(params, "polyak1", evaluated).findings}
    versus = found["resynthesis beats shuffled units in WER"]
    # A planted difference of exactly 60 of 100 words; the normal approximation of the interval is 60 -+ 9.6.
    assert versus.value == pytest.approx(-60)
    assert versus.low == pytest.approx(-60 - 9.6, abs=1.5)
    assert re.fullmatch(r".* in WER: yes, \u221260\.0 \[\u2212.*, \u2212.*\]", versus.sentence)
    assert found["HuBERT units beat VQ-VAE units in WER"].sentence.endswith(": not run")


@pytest.mark.parametrize(("wrong", "verdict"), [(range(5), "yes"), (range(60), "no"), (range(45, 75), "not shown")])
def test_verdicts(params: Params, evaluated: Path, wrong: range, verdict: str) -> None:
    """Against 30 planted errors: fewer, more, and as many on other utterances."""
    rows = [{"id": f"u{i}", "source_id": f"u{i}", "word_errors": int(i in wrong), "words": 1} for i in range(100)]
    write_shard(judged(evaluated, "conversion") / "utterances.parquet", rows, UTTERANCES)
    rows = [{"id": f"u{i}", "source_id": f"u{i}", "word_errors": int(i < 30), "words": 1} for i in range(100)]
    write_shard(judged(evaluated, "shuffled") / "utterances.parquet", rows, UTTERANCES)
    found = {f.words: f for f in tables.make_table(params, "polyak2", evaluated).findings}
    assert found["conversion beats shuffled units in WER"].verdict == verdict


def test_columns_of_a_language_hold_nothing_of_another(params: Params, evaluated: Path) -> None:
    rows = made(params, evaluated, "softvc2")
    assert rows["HuBERT-Soft"]["wer_french_paper"] == "28.2"
    assert rows["HuBERT-Soft"]["wer_french"] == "not run"
    assert rows["ground truth"]["wer"].startswith("10.0")
    assert rows["ground truth"]["wer_french"] == "\N{EN DASH}"


def test_values_that_nobody_verified_are_not_printed(params: Params, evaluated: Path) -> None:
    asgan = made(params, evaluated, "asgan")
    assert {row[c] for row in asgan.values() for c in ("digit_fid_paper", "am_score_paper")} == {
        "not verified",
        "\N{EN DASH}",
    }
    streamvc = made(params, evaluated, "streamvc")
    assert streamvc["StreamVC (LibriTTS)"]["wer_paper"] == "not verified"
    assert streamvc["StreamVC (LibriTTS)"]["f0_pcc_paper"] == "0.842"


def test_experiments_without_words_have_no_verdict(params: Params, evaluated: Path) -> None:
    for name in ERRORS:
        write_shard(judged(evaluated, name) / "utterances.parquet", [{"id": "u", "source_id": "u"}], UTTERANCES)
    rows = made(params, evaluated)
    assert not any("not intelligible" in row["note"] for row in rows.values())


def test_missing_and_damaged_results_are_named(params: Params, evaluated: Path) -> None:
    path = judged(evaluated, "shuffled") / "metrics.json"
    path.write_text("{")
    with pytest.raises(UserError, match=r"shuffled/metrics.json: not valid JSON"):
        tables.make_table(params, "polyak1", evaluated)
    path.unlink()
    with pytest.raises(UserError, match=r"shuffled/metrics.json: not found; run 'dvc repro evaluate@shuffled'"):
        tables.make_table(params, "polyak1", evaluated)
    made_up = dataclasses.replace(
        params, tables={"polyak3": PaperTable("polyak2021"), "polyak1": PaperTable("polyak2031")}
    )
    with pytest.raises(UserError, match=r"tables\.polyak3 is no table of polyak2021, which has polyak1, polyak2"):
        tables.make_table(made_up, "polyak3", evaluated)
    with pytest.raises(UserError, match=r"tables\.polyak1\.paper: no paper 'polyak2031'; known are .*polyak2021"):
        tables.make_table(made_up, "polyak1", evaluated)


def test_a_table_shows_its_own_experiments_and_the_common_ones_of_the_same_recordings(params: Params) -> None:
    assert list(tables.experiments_of(params, "polyak2")) == [
        *("conversion", "flat"),
        *("ground_truth", "shuffled", "untrained"),
    ]
    french = dataclasses.replace(params.experiments["conversion"], source="demo_target", table="softvc2")
    spoken = {**params.experiments, "softvc_soft_french": french}
    assert list(tables.experiments_of(dataclasses.replace(params, experiments=spoken), "softvc2")) == [
        "softvc_soft_french"
    ]


def test_forms_agree(params: Params, evaluated: Path) -> None:
    table = tables.make_table(params, "polyak1", evaluated)
    parsed = {row["label"]: row for row in csv.DictReader(io.StringIO(to_csv(table)))}
    assert len(parsed) == len(table.rows)
    assert float(parsed["VCTK: HuBERT"]["vde"]) == 12.345
    assert float(parsed["VCTK: HuBERT"]["mos_paper"]) == 3.41
    assert parsed["LJ: GT"]["vde_paper"] == ""
    assert parsed["LJ: GT"]["wer"] == "not run"
    markdown = to_markdown(table)
    body = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(body) == len(table.rows) + 2
    assert {line.count("|") for line in body} == {len(table.columns) + 3}
    assert "12.3 [11.0, 13.0]" in markdown
    assert f"- {table.findings[0].sentence}\n" in markdown
    assert to_json(table)["findings"][0]["sentence"] == table.findings[0].sentence
    ours = list(csv.DictReader(io.StringIO(to_measured_csv(table))))
    assert [row["row"] for row in ours] == [
        *("ground truth (row 'VCTK: GT')", "resynthesis (row 'VCTK: HuBERT')"),
        *("resynthesis, shuffled units", "resynthesis, untrained"),
    ]
    assert set(ours[0]) == {"row", "wer", "vde", "wer_difference"}
    assert float(ours[1]["wer"]) == 30.0
    latex = to_latex(table)
    lines = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in lines} == {len(table.columns) + 1}
    assert r"WER \%" in latex
    assert "%" not in latex.replace(r"\%", "")
    assert latex.isascii()


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "\u2013"),
        (Cell(3.14159), "3.1"),
        (Cell(1, 0.04, 2), "1.0 [0.0, 2.0]"),
        (Cell(-0.04, -2, 1), "0.0 [\N{MINUS SIGN}2.0, 1.0]"),
        (Cell(3.31, text="3.31 ± 0.33"), "3.31 ± 0.33"),
        (Cell(None), "\u2013"),
    ],
)
def test_cells(cell: Cell | None, text: str) -> None:
    assert format_cell(cell, 1) == text


def test_the_caption_states_scale_judges_and_floor(params: Params, evaluated: Path) -> None:
    caption = tables.make_table(params, "polyak1", evaluated).caption
    for stated in (f"scale {params.scale}", "wav2vec 2.0", "10.0 % WER", "Within the tolerance", "1 of 3"):
        assert stated in caption, stated
