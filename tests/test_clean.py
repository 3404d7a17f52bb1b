"""What ``make clean`` takes away, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import yaml

from scripts.clean import clean, output_patterns, own_folders

ROOT = Path(__file__).resolve().parents[1]


def test_every_output_goes_and_the_users_own_stays(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    corpora = {"mine": {"root": "data/mine/corpus"}, "demo": {"root": "prompts"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"corpora": corpora}))
    (tmp_path / "dvc.lock").write_text("stages: {old: {outs: [{path: systems/of-another-name}]}}")
    outputs = [pattern.replace("*", "of") for pattern in output_patterns(tmp_path)]
    assert {"pretrain/of", "train_digit_classifier/of", "unit_quality/metrics.json"} <= set(outputs)
    records = [".scratch/kmeans/key/parts/x", ".prefect/prefect.db", "mlflow.db", "mlartifacts/a", "sweeps/k/table.md"]
    own = ["data/mine/corpus/a.wav", "data/mine/notes.txt", ".dvc/cache/files/a", "prompts/a.txt", ".venv/bin/python"]
    for path in (*(f"{out}/part" for out in outputs), *records, *own):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    clean(tmp_path)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == sorted([*own, "dvc.lock", "dvc.yaml", "params.yaml"])
    assert not (tmp_path / "systems").exists()
    assert clean(tmp_path) == []
    assert set(own_folders(tmp_path)) == {tmp_path / "data/mine/corpus", tmp_path / "prompts"}
