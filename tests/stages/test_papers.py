"""The registry of tables is complete, and says what the papers say."""

from __future__ import annotations

import os
from pathlib import Path

import networkx
import pytest

from respeak.results.columns import MEASURED
from respeak.results.paired import GENUINE_EER, RATES
from speech.phonemes import PHONES
from stages.papers import polyak2021, van_niekerk2022
from stages.papers.paper_table import ANCHORS, FILES, PaperTable
from stages.papers.registry import all_tables, find_table
from stages.params.whole import Params, load_params

REGISTRY = all_tables()
TABLES = {"polyak1", "polyak2", "codec", "softvc1", "softvc2", "streamvc", "asgan", "pitdyn"}


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(Path(__file__).resolve().parents[2] / "params.yaml")


def test_every_paper_is_found_and_tables_that_have_experiments_are_made(params: Params) -> None:
    assert set(REGISTRY) >= TABLES
    own = {experiment.table for experiment in params.experiments.values()} - {"common"}
    assert set(params.tables) == own
    assert all(find_table(name, table.paper) is REGISTRY[name] for name, table in params.tables.items())


@pytest.mark.parametrize("name", REGISTRY)
def test_an_entry_names_only_what_exists(params: Params, project: Path, name: str) -> None:
    entry = REGISTRY[name]
    run = {key for key, experiment in params.experiments.items() if experiment.table == name}
    assert run <= set(entry.experiments), "an experiment is run for the table that no row of it shows"
    assert set(ANCHORS) <= set(entry.experiments)
    assert set(entry.tolerance) <= {column.metric for column in entry.paper.columns if not column.human}
    assert entry.files[: len(FILES)] == FILES
    assert {*entry.phonemes, *entry.paper.phonemes} <= set(entry.experiments)
    assert all(set(rates) <= set(PHONES) for rates in entry.paper.phonemes.values())
    for config in entry.configs:
        group, choice = config.split("=")
        assert (project / "conf" / group / f"{choice}.yaml").is_file(), config
    for claim in entry.claims:
        assert {claim.better, claim.worse} <= set(entry.experiments), claim.words
        assert claim.metric in {*RATES, GENUINE_EER}, claim.words


@pytest.mark.parametrize("name", REGISTRY)
def test_rows_fit_their_columns_and_are_told_apart(name: str) -> None:
    paper = REGISTRY[name].paper
    groups = {column.group for column in paper.columns}
    assert len({column.name for column in paper.columns}) == len(paper.columns)
    assert len({row.label for row in paper.rows}) == len(paper.rows)
    for row in paper.rows:
        assert len(row.values) == len(paper.columns)
        assert set(row.experiments) <= groups


def test_headings_are_told_apart() -> None:
    assert len({column.name for column in MEASURED}) == len({column.heading for column in MEASURED}) == len(MEASURED)


def test_a_table_waits_for_its_own_experiments_and_the_common_ones_alone(project: Path) -> None:
    from dvc.repo import Repo

    with Repo(os.fspath(project)) as repo:
        known = {stage.addressing: stage for stage in repo.index.stages}
        needed = networkx.descendants(repo.index.graph, known["tables@polyak1"])
        judged = {name for stage in needed if (name := stage.addressing).startswith("evaluate@")}
    assert judged == {f"evaluate@{name}" for name in ("resynthesis", "ground_truth", "shuffled", "untrained")}


def test_values_agree_with_the_papers_prose() -> None:
    one, two = values(polyak2021.TABLE_1), values(polyak2021.TABLE_2)
    # Polyak et al. 2021, section 3.2: VQ-VAE keeps F0 best, as VDE of 5.2 against 7.03 after flattening shows.
    assert one["VCTK: VQ-VAE"]["vde"] == 5.20
    assert two["to VCTK: VQ-VAE"]["vde_flat"] == 7.03
    assert one["VCTK: HuBERT"]["wer"] < one["VCTK: CPC"]["wer"] < one["VCTK: VQ-VAE"]["wer"]
    # van Niekerk et al. 2022, abstract: soft units are more intelligible than discrete ones.
    soft = values(van_niekerk2022.TABLE_1)
    assert soft["HuBERT-Soft"]["wer"] < soft["HuBERT-Discrete"]["wer"]
    # Figure 2: soft units lower the errors of every phoneme but one, whose bars are the other way round.
    discrete, soft_phonemes = (van_niekerk2022.TABLE_1.phonemes[f"softvc_{kind}"] for kind in ("discrete", "soft"))
    assert [phone for phone in discrete if soft_phonemes[phone] > discrete[phone]] == ["EY"]
    # 50 units take 6 bits at 50 Hz; the paper counts 65 bit/s for F0.
    codec = values(polyak2021.CODEC)
    for units, bits in ((50, 6), (100, 7), (200, 8)):
        assert codec[f"HuBERT, {units} units"]["bitrate"] == 50 * bits + 65


def values(table: PaperTable) -> dict[str, dict[str, float]]:
    return {
        row.label: {name: cell.value for name, cell in table.cells(row).items() if cell.value is not None}
        for row in table.rows
    }
