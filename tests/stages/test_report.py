from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from respeak.page import pictures
from respeak.page.charts import line_chart
from respeak.page.clips import CHOSEN, Sentence, choose, groups
from respeak.results.table import Cell, Column, Row, to_json
from respeak.results.table import Table as RenderedTable
from speech.audio.waveforms import encode_audio
from speech.errors import UserError
from speech.metrics.summary import TRIALS, UTTERANCES
from speech.storage.files import write_json
from speech.storage.shards import SYNTHESIS, read_rows, read_shard, shard_name, write_shard
from stages import report, tables
from stages.params.tables import PaperTable
from stages.params.whole import Params, load_params
from stages.reporting.players import read_sentences
from stages.reporting.run_times import duration, read_runs
from stages.runtime.stage import Stage
from tests.stages.browser import Browser, open_page
from tests.stages.tiny_corpus import make_corpus

PROJECT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ("ground_truth", "resynthesis", "shuffled", "untrained")
TABLE = {"resynthesis": "polyak1"}
TEXTS = ("one <two> & three", "four")
WRONG = {"ground_truth": 0, "resynthesis": 1, "shuffled": 3, "untrained": 3}


class Silent:
    def log_artifact(self, path: Path) -> None:
        pass


@pytest.fixture(scope="module")
def params() -> Params:
    loaded = load_params(PROJECT / "params.yaml")
    run = {"polyak1": loaded.tables["polyak1"], "asgan": PaperTable("baas2022")}
    return dataclasses.replace(loaded, tables=run, report=dataclasses.replace(loaded.report, sentences=3))


@pytest.fixture(scope="module")
def made(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages before leave of a corpus of ten utterances in four experiments."""
    root = tmp_path_factory.mktemp("project")
    make_corpus(root / "data" / params.roles.source, utterances=10)
    for experiment in EXPERIMENTS:
        spoken = list(_spoken(root / "data" / params.roles.source, experiment))
        write_shard(root / "synthesize" / experiment / shard_name(0), spoken, SYNTHESIS, {})
        _write_results(root / "evaluate" / TABLE.get(experiment, "common") / experiment, spoken, WRONG[experiment])
    for name in params.tables:
        with contextlib.chdir(root), contextlib.redirect_stdout(io.StringIO()):
            tables.run(Stage("tables", name, params, cast(Any, Silent())))
    _write_quality(root / "unit_quality", (("mfcc/none/K=50", 0.25), ("mfcc/none/K=100", 0.4321)))
    for folder in ("systems/resynthesis", "train_f0_vq"):
        (root / folder).mkdir(parents=True)
        (root / folder / "history.csv").write_text(
            "step,train/learning_rate,train/loss_mel,valid/loss_mel\n10,0.1,4.5,\n20,0.1,2.5,3.5\n30,0.1,2.25,\n"
        )
    return root


def _spoken(corpus: Path, experiment: str) -> Iterator[dict]:
    for index, row in enumerate(read_rows(corpus / "audio")):
        wave = 0.3 * np.sin(2 * np.pi * 200 * np.arange(row["num_samples"] - 100 * index) / 16000)
        yield {
            "id": row["id"],
            "source_id": row["id"],
            "source_speaker": row["speaker"],
            "target_speaker": row["speaker"],
            "text": TEXTS[index % 2],
            "num_samples": len(wave),
            "audio": encode_audio(wave.astype(np.float32), "wav" if experiment == "untrained" else "flac"),
        }


def _write_results(folder: Path, spoken: list[dict], wrong: int) -> None:
    heard = {"hypothesis": "<b>heard</b>", "reference": "a b c", "word_errors": wrong, "words": 3}
    heard |= {"phones_said": "EY B IY", "phones_heard": "EY B IY S"[wrong:], "phoneme_errors": 1 + wrong, "phones": 3}
    rows = [{"id": row["id"], "source_id": row["source_id"], **heard} for row in spoken]
    write_shard(folder / "utterances.parquet", rows, UTTERANCES)
    write_shard(folder / "trials.parquet", [], TRIALS)
    write_json(folder / "metrics.json", {"utterances": len(rows), "wer": 100 * wrong / 3})


def _write_quality(folder: Path, pnmi: Sequence[tuple[str, float | None]]) -> None:
    rows = [Row(name, name, "measured", {"pnmi": Cell(value), "unit_distance": Cell(0.5)}) for name, value in pnmi]
    columns = (Column("pnmi", "PNMI", 3), Column("unit_distance", "unit distance", 3))
    write_json(folder / "table.json", to_json(RenderedTable("Units and phones", "Held out.", columns, rows)))
    (folder / "phones.png").write_bytes(pictures.encode_png(np.zeros((4, 4), np.uint8)))


@pytest.fixture(scope="module")
def page(params: Params, made: Path) -> str:
    return report.make_page(params, made, made)


def test_the_page_holds_every_section_and_asks_for_no_other_file(page: str) -> None:
    assert re.findall(r'<section id="(\w+)">', page) == [*("tables", "phonemes", "listen", "training", "units", "runs")]
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "@import" not in page
    assert "url(" not in page


def test_what_people_wrote_cannot_become_markup(page: str) -> None:
    assert "one &lt;two&gt; &amp; three" in page
    assert "&lt;b&gt;heard&lt;/b&gt;" in page
    assert "<two>" not in page


def test_verdicts_of_the_tables_stand_at_the_players(page: str) -> None:
    cards = re.findall(r'<article class="card"><h4>(.*?)</h4>', page)
    called = {bool(re.search("shuffled|untrained", card)) for card in cards if "not intelligible" in card}
    assert called == {True}
    assert not any("not intelligible" in card for card in cards if not re.search("shuffled|untrained", card))


def sentences(params: Params, made: Path, max_mb: float) -> list[Sentence]:
    limited = dataclasses.replace(params, report=dataclasses.replace(params.report, max_audio_mb=max_mb))
    return read_sentences(limited, made, {name: name for name in EXPERIMENTS}, {})


def test_audio_stays_within_its_limit(params: Params, made: Path) -> None:
    unlimited = sentences(params, made, 1000.0)
    assert [len(s.clips) for s in unlimited] == [4, 4, 4]
    limit = sum(s.size for s in unlimited) - 1
    kept = sentences(params, made, limit / 1e6)
    assert sum(s.size for s in kept) <= limit
    assert len(kept) >= 2
    tight = dataclasses.replace(params, report=dataclasses.replace(params.report, max_audio_mb=1e-5))
    assert "No sentence takes less than 1e-05 MB" in report.make_page(tight, made, made)


def test_systems_that_spoke_other_sentences_are_heard_too(params: Params, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "synthesize/untrained" / shard_name(0)
    rows = [row | {"source_id": f"other-{row['source_id']}"} for row in read_rows(path.parent)]
    write_shard(path, rows, SYNTHESIS, {})
    found = [[clip.system for clip in s.clips] for s in sentences(params, tmp_path, 1000.0)]
    assert found == 3 * [["ground_truth", "resynthesis", "shuffled"]] + 3 * [["untrained"]]


def test_systems_are_grouped_by_what_they_have_in_common() -> None:
    spoken = {"a": {"1", "2", "3"}, "b": {"2", "3"}, "c": {"9"}, "d": {"1", "3"}, "e": set[str](), "f": {"9", "8"}}
    assert list(groups(spoken)) == [(["a", "b", "d"], ["3"]), (["c", "f"], ["9"])]
    assert list(groups({})) == []


def test_sentences_are_about_four_seconds_and_of_different_speakers() -> None:
    spoken = [
        Sentence("a", "x", "t1", 3.9),
        Sentence("b", "x", "t2", 4.1),
        Sentence("c", "y", "t3", 9.0),
        Sentence("d", "y", "t1", 4.0),
    ]
    assert [s.id for s in choose(spoken, 3)] == ["d", "b", "c"]
    # What the recogniser hears best comes first, and variety brings in nothing that it hears worse than it must.
    heard = {"a": 0.5, "b": 0.0, "c": 0.0, "d": 1.0}
    spoken = [dataclasses.replace(s, wrong=heard[s.id]) for s in spoken]
    assert [[s.id for s in choose(spoken, count)] for count in range(5)] == [
        [],
        ["b"],
        ["b", "c"],
        ["b", "c", "a"],
        ["b", "c", "a", "d"],
    ]
    assert [s.id for s in choose([dataclasses.replace(spoken[1], id="z", wrong=None), *spoken], 4)] == [
        "b",
        "c",
        "a",
        "d",
    ]
    assert choose([], 3) == []


def test_what_the_recogniser_mistakes_in_the_recordings_is_not_offered_first(
    params: Params, made: Path, tmp_path: Path, page: str
) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    first = sentences(params, made, 1000.0)
    judged = tmp_path / "evaluate/common/ground_truth/utterances.parquet"
    worse = [row | {"word_errors": int(row["source_id"] == first[0].id)} for row in read_shard(judged)]
    write_shard(judged, worse, UTTERANCES)
    now = sentences(params, tmp_path, 1000.0)
    assert len(now) == len(first) and first[0].id not in [sentence.id for sentence in now]
    # What a system made of a sentence plays no part.
    for row in worse:
        row["word_errors"] = 3
    write_shard(tmp_path / "evaluate/polyak1/resynthesis/utterances.parquet", worse, UTTERANCES)
    assert [sentence.id for sentence in sentences(params, tmp_path, 1000.0)] == [sentence.id for sentence in now]
    assert CHOSEN in page


def test_a_spectrogram_is_brightest_at_the_tone_and_readable_by_others() -> None:
    image = pytest.importorskip("PIL.Image")
    levels = pictures.spectrogram(0.5 * np.sin(2 * np.pi * 3000 * np.arange(16000) / 16000))
    assert levels.shape == (256, 201)
    row = levels[:, 100].argmax()
    assert (255 - row) * 16000 / 512 == pytest.approx(3000, abs=32)
    png = image.open(io.BytesIO(pictures.encode_png(levels)))
    assert png.size == (201, 256)
    np.testing.assert_array_equal(np.asarray(png), levels)
    # A tone 60 dB down is seen, one at 90 is not.
    two = pictures.spectrogram(
        sum(a * np.sin(2 * np.pi * f * np.arange(8000) / 16000) for a, f in ((0.9, 500), (9e-4, 4000)))
    )
    assert two[255 - 128, 50] > 3 > two[255 - 200, 50]


def test_a_chart_places_points_in_proportion() -> None:
    svg = line_chart("loss", {"train": [(0, 1.0), (50, 2.0), (100, 3.0)], "valid": [(50, float("nan"))]}, "step")
    points = [tuple(map(float, p.split(","))) for p in re.search(r'points="([^"]+)"', svg)[1].split()]  # type: ignore[index]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.1)
    assert y0 > y1 > y2
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert svg.count("<polyline") == 1
    assert line_chart("loss", {"train": []}, "step") == ""


def test_errors_by_phoneme_are_drawn_for_each_system(page: str) -> None:
    """Of "EY B IY S" without its first phone, B and IY are heard; the recordings have no error."""
    drawn = dict(re.findall(r'<rect class="column [^>]*><title>([^<]*): ([0-9.]+)</title>', page))
    assert drawn == {
        **{f"ground truth, {sign}": "0.0" for sign in ("e\u026a", "b", "i")},
        "resynthesis, e\u026a": "100.0",
        "resynthesis, b": "0.0",
        "resynthesis, i": "0.0",
    }


def test_run_times_come_from_mlflow_and_from_journals(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.create_experiment("respeak")
    urls = {}
    for start, status in ((1000, "FINISHED"), (5000, "FINISHED"), (9000, "FAILED")):
        found = client.create_run(experiment, start_time=start, run_name="kmeans", tags={"stage": "kmeans"})
        client.set_terminated(found.info.run_id, status, end_time=start + 2500)
        urls[start] = f"http://127.0.0.1:5000/#/experiments/{experiment}/runs/{found.info.run_id}"
    journals = tmp_path / ".scratch/runs"
    journals.mkdir(parents=True)
    opened = {"event": "open", "name": "units@demo", "tags": {"stage": "units"}, "time": 20_000}
    closed = {"event": "close", "status": "FINISHED", "time": 20_750}
    (journals / "1.jsonl").write_text(f"{json.dumps(opened)}\n{json.dumps(closed)}\n")
    (journals / "2.jsonl").write_text(f"{json.dumps({**opened, 'name': 'f0@demo'})}\n")
    runs = read_runs(tmp_path)
    assert [(run.name, run.seconds) for run in runs] == [("kmeans", 2.5), ("units@demo", 0.75)]
    assert runs[0].url == urls[5000]
    assert read_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (1008, "16 min 48 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_unit_quality_is_shown(params: Params, made: Path, tmp_path: Path, page: str) -> None:
    units = page[page.index('<section id="units">') :]
    assert re.search(r'<th rowspan="1" [^>]*>PNMI</th>', units)
    assert ">0.432<" in units
    assert units.count("<img ") == 1
    chart = re.search(r'<svg class="chart"[^>]*aria-label="PNMI">.*?</svg>', units)
    assert chart is not None
    # Sizes of the codebook from left to right.
    (x50, y50), (x100, y100) = (
        tuple(map(float, p.split(","))) for p in re.findall(r'points="(.*?)"', chart[0])[0].split()
    )
    assert x50 < x100
    assert y50 > y100


def test_without_phone_timings_there_is_no_picture_of_them(params: Params, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    _write_quality(tmp_path / "unit_quality", [("mfcc/none/K=50", None)])
    page = report.make_page(params, tmp_path, tmp_path)
    units = page[page.index('<section id="units">') :]
    assert "<img " not in units
    assert 'aria-label="unit distance"' in units


def test_a_damaged_table_is_named(params: Params, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "tables", tmp_path / "tables")
    (tmp_path / "tables/asgan/table.json").write_text("{")
    with pytest.raises(UserError, match=r"asgan/table.json: cannot be read .*run 'dvc repro tables@asgan'"):
        report.make_page(params, tmp_path, tmp_path)


@pytest.fixture(scope="module")
def browser(page: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "index.html").write_text(page, encoding="utf-8")
    with open_page(folder / "index.html", folder / "profile") as opened:
        yield opened


def test_a_browser_reads_every_clip_in_full(browser: Browser, params: Params, made: Path) -> None:
    expected = [len(clip.wave) / 16000 for s in sentences(params, made, 1000.0) for clip in s.clips]
    browser.wait("[...document.querySelectorAll('audio')].every(a => a.readyState > 0 || a.error)")
    assert browser.evaluate("[...document.querySelectorAll('audio')].map(a => a.duration)") == pytest.approx(expected)


def test_keys_play_one_clip_at_a_time(browser: Browser) -> None:
    browser.evaluate(
        "window.played = []; for (const a of clips) a.addEventListener('ended', () => played.push(clips.indexOf(a)))"
    )
    browser.press("2", "Digit2")
    browser.wait("clips[1].currentTime > 0.02")
    assert browser.evaluate("clips[1].closest('.card').querySelector('.playhead').classList.contains('on')")
    browser.evaluate("clips[0].loop = true")
    browser.press("1", "Digit1")
    browser.wait("!clips[0].paused && clips[1].paused && clips[0].currentTime > 0.02")
    browser.press("1", "Digit1")
    browser.wait("clips.every(a => a.paused)")
    browser.press("3", "Digit3")
    browser.wait("played.includes(2)")


def test_tab_reaches_the_content_first_and_then_the_links(browser: Browser) -> None:
    browser.evaluate("document.activeElement.blur()")
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.getAttribute('href')") == "#main"
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.getAttribute('href')") == "#tables"


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, width: int) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("document.querySelector('.cards').clientWidth") > 0.85 * min(width, 1240)


def test_light_and_dark_keep_text_apart_from_its_ground(browser: Browser) -> None:
    grounds = set()
    for theme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        for place in ("body", ".caption", ".badge", ".card h4 small, .card h4"):
            style = f"getComputedStyle(document.querySelector('{place}'))"
            ink, ground = browser.evaluate(f"{style}.color"), browser.evaluate(_GROUND % place)
            assert contrast(ink, ground) >= 4.5, (theme, place, ink, ground)
        grounds.add(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


_GROUND = """(() => { for (let e = document.querySelector('%s'); e; e = e.parentElement) {
  const c = getComputedStyle(e).backgroundColor; if (c !== 'rgba(0, 0, 0, 0)') return c; } })()"""


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.1, section 1.4.3, of two colours ``rgb(r, g, b)``."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_page_reported_no_error_and_left_the_machine_alone(browser: Browser) -> None:
    browser.evaluate("1")
    requested = {event["request"]["url"].split(":")[0] for event in browser.seen("Network.requestWillBeSent")}
    assert requested <= {"file", "data"}
    assert not browser.seen("Runtime.exceptionThrown")
    assert not [event for event in browser.seen("Log.entryAdded") if event["entry"]["level"] == "error"]
