from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from respeak.judges.judge_folders import read_texts
from respeak.page.clips import CHOSEN
from speech.errors import UserError
from tests.respeak.tiny import Respeak, random_classifier

DIGITS = {"3": "three", "6": "six", "8": "eight"}


@pytest.fixture()
def folders(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Real digits as references, the same at another rate and level, and buried in noise; one file is broken."""
    monkeypatch.setenv("RESPEAK_CACHE", str(tmp_path / "cache"))
    rng, lines = np.random.default_rng(0), []
    for folder in ("ref", "same", "noisy"):
        (tmp_path / folder).mkdir()
    for digit, word in DIGITS.items():
        path = shared / f"data/free-spoken-digit-dataset/recordings/{digit}_theo_0.wav"
        wave, rate = soundfile.read(path)
        soundfile.write(tmp_path / f"ref/{digit}.wav", wave, rate)
        soundfile.write(tmp_path / f"same/{digit}.flac", 0.5 * wave, rate)
        soundfile.write(tmp_path / f"noisy/{digit}.wav", 0.3 * wave + 0.3 * rng.normal(size=len(wave)), rate)
        lines.append(f"{digit}|{word}\n")
    (tmp_path / "texts").write_text("".join(lines))
    (tmp_path / "noisy/9.wav").write_bytes(b"RIFF")
    return tmp_path


def test_other_peoples_systems_get_the_same_table_and_page(respeak: Respeak, folders: Path) -> None:
    given = (folders / "same", folders / "noisy", "--reference", folders / "ref", "--text", folders / "texts")
    options = ("--asr-mode", "words", "--quality", "mcd", "--bootstrap", "50", "--sentences", "1")
    status, out, err = respeak("evaluate", *given, "--out", folders / "out", *options)
    assert status == 1
    assert "skipped: " in err and "9.wav" in err
    assert "1 of 4 recordings have no text: 9" in err
    assert out.startswith("### Judged: references, same, noisy")
    table = json.loads((folders / "out/table.json").read_text())
    cells = {row["label"]: {name: cell["value"] for name, cell in row["cells"].items()} for row in table["rows"]}
    assert list(cells) == ["references", "same", "noisy"]
    assert cells["same"]["wer"] == cells["references"]["wer"] < cells["noisy"]["wer"]
    assert cells["same"]["mcd"] < 2 < 5 < cells["noisy"]["mcd"]
    assert cells["noisy"]["speaker_similarity"] < 90 < 99 < cells["same"]["speaker_similarity"]
    assert "same beats noisy in WER" in {finding["words"] for finding in table["findings"]}
    assert pq.read_table(folders / "out/noisy/utterances.parquet").to_pylist()[0]["reference"] == "three"
    page = (folders / "out/index.html").read_text()
    assert page.count("<audio ") == 3 and CHOSEN in page
    assert all(f'<section id="{section}">' in page for section in ("tables", "phonemes", "listen"))


def test_without_text_or_reference_there_is_still_something_to_say(respeak: Respeak, folders: Path) -> None:
    options = ("--phonemes", "none", "--quality", "", "--bootstrap", "50", "--voice", folders / "ref")
    status, _, _ = respeak("evaluate", folders / "same", "--out", folders / "out", *options)
    assert status == 0
    row = json.loads((folders / "out/table.json").read_text())["rows"][0]
    assert set(row["cells"]) == {"speaker_similarity"}


def test_sets_of_digits_need_no_text(respeak: Respeak, folders: Path) -> None:
    waves = [soundfile.read(folders / f"ref/{digit}.wav", dtype="float32")[0] for digit in DIGITS]
    classifier = random_classifier(folders / "classifier", waves)
    options = ("--phonemes", "none", "--quality", "", "--bootstrap", "20", "--digits", classifier)
    status, out, _ = respeak("evaluate", folders / "same", "--out", folders / "out", *options)
    assert status == 0
    cells = json.loads((folders / "out/table.json").read_text())["rows"][0]["cells"]
    assert set(cells) == {"digit_fid", "inception_score", "modified_inception_score", "am_score"}
    assert "FID of digits" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing", "--out", "o"), "nothing: no such folder"),
        (("ref", "--out", "o", "--quality", "mos"), "--quality: mos is no judge of quality"),
        (("ref", "--out", "o", "--quality", "utmos"), "utmos22_strong_step7459_v1.pt: not found; get https://"),
        (("ref", "--out", "o", "--speaker", "ecapa", "--voice", "ref"), "spkrec-ecapa-voxceleb.ckpt: not found; get "),
        (("ref", "--out", "o", "--digits", "empty"), "evaluate.digits: empty/config.yaml: not found"),
        (("ref", "--out", "o", "--asr", "whisper"), "judge whisper needs the name of a model"),
        (("ref", "--out", "o", "--text", "other"), "no recording has a text"),
        (("ref", "--out", "o", "--reference", "empty"), "empty: no recordings"),
    ],
)
def test_mistakes_are_said_in_one_line(
    respeak: Respeak, folders: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(folders)
    (folders / "empty").mkdir()
    (folders / "other").write_text("x|y\n")
    status, _, err = respeak("evaluate", *arguments)
    assert status == 2
    assert message in err.splitlines()[-1]


def test_texts_in_the_usual_forms(tmp_path: Path) -> None:
    path = tmp_path / "texts"
    for content in ("a|A b|one two\nb.wav|three\n", "a\tone two\nb\tthree\n", "a one two\nb  three\n\n"):
        path.write_text(content)
        assert read_texts(path) == {"a": "one two", "b": "three"}
    path.write_text("a\n")
    with pytest.raises(UserError, match="line 1 has a name but no text"):
        read_texts(path)
