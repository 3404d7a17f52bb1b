from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from respeak.results.__main__ import main
from respeak.results.console import COLUMNS, WIDTH, choose_columns, holds_a_system, summarise, summarise_folder
from respeak.results.measured import NOT_INTELLIGIBLE
from respeak.results.table import Cell, Column, Finding, Row, Table, read_table, to_json, to_markdown
from speech.errors import UserError

NOT_RUN = Cell(None, text="not run")
WORDS = [Column("per", "PER % (ours)"), Column("wer_paper", "WER % (paper)"), Column("wer", "WER % (ours)")]
OTHERS = [Column("per_paper", "PER % (paper)"), Column("mos", "MOS (ours)"), Column("mos_paper", "MOS (paper)")]
OTHERS += [Column("stoi", "STOI", 3), Column("mcd", "MCD dB", 2), Column("speaker_accuracy", "nearest speaker %")]
OTHERS += [Column("pesq", "PESQ", 2)]
MEASURED = {"wer": Cell(21.26, 17.0, 25.7), "per": Cell(15.0), "speaker_accuracy": Cell(75.0), "pesq": Cell(1.2)}
ROWS = [
    Row("paper:HuBERT", "HuBERT", "paper", MEASURED | {"wer_paper": Cell(5.4), "mos": NOT_RUN}, "", "a (row 'HuBERT')"),
    Row("paper:CPC", "CPC", "paper", {"wer": NOT_RUN, "wer_paper": Cell(8.1)}),
    Row("shuffled", "shuffled units", "measured", {"wer": Cell(99.0)}, NOT_INTELLIGIBLE),
]
CONTEXT = {"scale": "smoke", "utterances": 12, "asr": "whisper tiny.en"}
FINDINGS = (Finding("a beats shuffled units in WER", "yes", -78.0, -82.0, -70.0), Finding("b beats a", "not run"))
TABLE = Table("A table", "A caption.", [*WORDS, *OTHERS], ROWS, CONTEXT, FINDINGS)


def write(folder: Path, name: str, table: Table) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "table.json").write_text(json.dumps(to_json(table)))
    (folder / name / "table.md").write_text(to_markdown(table))


def test_a_summary_shows_what_was_run_and_what_it_means() -> None:
    lines = summarise(TABLE, "tables/a/table.md").splitlines()
    assert lines[0] == "A table"
    shown = " ".join(" ".join(lines).split())
    grid = [line.split() for line in lines]
    assert ["a", "21.3", "[17.0,", "25.7]", "5.4", "15.0", "75.0", "1.20"] in grid
    assert ["shuffled", "units", "*", "99.0", "–", "–", "–", "–"] in grid
    assert "CPC" not in shown
    assert "not run" not in shown
    assert "MOS" not in shown
    assert "a beats shuffled units in WER: yes, −78.0 [−82.0, −70.0]" in lines
    for fact in (
        "smoke",
        "12 utterances",
        "whisper tiny.en",
        "95 % interval",
        "* not intelligible",
        "tables/a/table.md",
    ):
        assert fact in shown


def test_words_come_first_then_the_papers_columns_and_never_more_than_a_few() -> None:
    many = [Column(f"paper{i}", f"{i} (ours)") for i in range(9)]
    many += [Column(f"{column.name}_paper", "") for column in many]
    row = dataclasses.replace(ROWS[0], cells={c.name: Cell(1.0) for c in [*WORDS, *OTHERS, *many]})
    chosen = choose_columns(dataclasses.replace(TABLE, columns=[*OTHERS, *many, *WORDS]), [row])
    assert [column.name for column in chosen] == ["wer", "mos", *(f"paper{i}" for i in range(3))]
    assert len(chosen) == COLUMNS
    plain = [column for column in OTHERS if column.name in ("stoi", "mcd", "speaker_accuracy", "pesq")]
    chosen = choose_columns(dataclasses.replace(TABLE, columns=plain), [row])
    assert [column.name for column in chosen] == ["speaker_accuracy", "mcd", "stoi", "pesq"]


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(max_size=300), min_size=6, max_size=6),
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
)
def test_no_line_is_wider_than_the_terminal(texts: list[str], values: list[float]) -> None:
    cells = {c.name: Cell(values[0], values[1], values[2]) for c in [*WORDS, *OTHERS]}
    rows = [Row("x", texts[0], "paper", cells, texts[1], texts[2]), *ROWS]
    columns = [dataclasses.replace(column, heading=texts[3]) for column in [*WORDS, *OTHERS]]
    findings = [Finding(texts[4], "yes", *values)]
    context = {"scale": texts[5], "utterances": 10**30, "asr": texts[4] * 3}
    shown = summarise(Table(texts[5], "", columns, rows, context, findings), texts[2])
    assert max(cell_len(line) for line in shown.splitlines()) <= WIDTH
    assert "\x1b" not in shown


def test_of_a_table_without_a_number_of_ours_it_says_so() -> None:
    empty = dataclasses.replace(TABLE, rows=ROWS[1:2])
    assert "Nothing of it was run" in summarise(empty, "x")


def test_a_folder_shows_the_tables_of_which_a_system_was_run(tmp_path: Path) -> None:
    anchors = Row("paper:GT", "GT", "paper", {"wer": Cell(1.0)}, "", "ground truth (row 'GT')")
    bounds = dataclasses.replace(TABLE, title="Bounds", rows=[anchors, ROWS[2]])
    assert holds_a_system(TABLE)
    assert not holds_a_system(bounds)
    write(tmp_path, "ours", TABLE)
    write(tmp_path, "bounds", bounds)
    shown = summarise_folder(tmp_path)
    assert "A table" in shown
    assert "Bounds" not in shown
    assert "No system of these was run: bounds" in shown
    assert "Bounds" in summarise_folder(tmp_path, ["bounds"])


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path, "ours", TABLE)
    assert to_json(read_table(tmp_path / "ours/table.json")) == to_json(TABLE)
    for text in ("{", "{}", "[]", '{"rows": 3}'):
        (tmp_path / "ours/table.json").write_text(text)
        with pytest.raises(UserError, match=r"not a table .* dvc repro tables@ours"):
            read_table(tmp_path / "ours/table.json")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert capsys.readouterr().err == "error: tables/: no tables yet; run make reproduce\n"
    write(tmp_path / "tables", "ours", TABLE)
    assert main(["ours"]) == 0
    assert "tables/ours/table.md" in capsys.readouterr().out
    assert main(["--all"]) == 0
    assert capsys.readouterr().out == f"{to_markdown(TABLE)}\n"
    assert main(["theirs"]) == 2
    assert capsys.readouterr().err == "error: tables/theirs: no such table; there are ours\n"
