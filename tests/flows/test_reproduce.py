from __future__ import annotations

import json
from pathlib import Path

from flows.reproduce import closing
from respeak.results.table import Cell, Column, Row, Table, to_json


def test_the_closing_shows_the_tables_of_which_a_system_was_run(tmp_path: Path) -> None:
    for name, label in (("polyak1", "resynthesis"), ("softvc1", "shuffled")):
        row = Row(label, label, "measured", {"wer": Cell(21.0)})
        table = Table(f"Table of {name}", "", [Column("wer", "WER %")], [row])
        folder = tmp_path / "tables" / name
        folder.mkdir(parents=True)
        (folder / "table.json").write_text(json.dumps(to_json(table)))
    text = closing(tmp_path)
    assert "Table of polyak1" in text
    assert "Table of softvc1" not in text
    assert "  tables/ " in text
    assert "systems/" not in text  # none there yet
