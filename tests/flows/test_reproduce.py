from __future__ import annotations

import json
from pathlib import Path

from flows.reproduce import closing


def test_the_closing_shows_the_tables_that_say_something_of_a_system(tmp_path: Path) -> None:
    for name, value in (("polyak1", -25.0), ("softvc1", None)):
        folder = tmp_path / "tables" / name
        folder.mkdir(parents=True)
        (folder / "table.md").write_text(f"### {name}\n")
        (folder / "table.json").write_text(json.dumps({"findings": [{"value": value}, {"value": None}]}))
    text = closing(tmp_path)
    assert "### polyak1" in text
    assert "### softvc1" not in text
    assert "  tables/ " in text
    assert "systems/" not in text  # none there yet
