"""Corpora fetched from a local server: complete, interrupted, half unpacked, from a hub's listing."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from speech.corpora import CORPORA, download, how_to_get, install, ljspeech, prepare, speech_commands
from speech.corpora.install import Archive
from speech.errors import UserError
from tests.speech.files_server import serving


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


LJ = packed({"LJSpeech-1.1/metadata.csv": b"LJ001-0001|One.|One.\n", "LJSpeech-1.1/wavs/LJ001-0001.wav": b"RIFF"})


@pytest.fixture()
def small_lj(monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive of LJSpeech, but small."""
    address = "http://nowhere.invalid/LJSpeech-1.1.tar.bz2"
    monkeypatch.setattr(
        ljspeech, "ARCHIVES", [Archive(address, hashlib.sha256(LJ).hexdigest(), len(LJ), "LJSpeech-1.1")]
    )


@pytest.mark.usefixtures("small_lj")
def test_a_corpus_is_fetched_once_unpacked_and_marked(tmp_path: Path) -> None:
    root = tmp_path / "LJSpeech-1.1"
    with serving({"/LJSpeech-1.1.tar.bz2": LJ}) as server:
        server.cut_after = [100]
        download("ljspeech", root, {}, server.url)
        download("ljspeech", root, {}, server.url)
        assert server.asked == [None, "bytes=100-"]
    assert [e.text for e in prepare("ljspeech", root, root, 1, {}).entries] == ["One."]
    assert json.loads((root / ".LJSpeech-1.1.tar.bz2.completed").read_text())["files"] == 2
    names = {path.name for path in root.iterdir()}
    assert names == {"metadata.csv", "wavs", ".LJSpeech-1.1.tar.bz2.completed"}


@pytest.mark.usefixtures("small_lj")
def test_half_unpacked_is_refused_until_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    with serving({"/LJSpeech-1.1.tar.bz2": LJ}) as server:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(install, "unpack", killed)
            download("ljspeech", tmp_path, {}, server.url)
        with pytest.raises(UserError, match=r"LJSpeech-1\.1\.tar\.bz2 is not completely there; run 'respeak corpus"):
            prepare("ljspeech", tmp_path, tmp_path, 1, {})
        download("ljspeech", tmp_path, {}, server.url)
        assert server.asked == [None]  # the archive itself was whole
    assert len(prepare("ljspeech", tmp_path, tmp_path, 1, {}).entries) == 1


@pytest.mark.usefixtures("small_lj")
def test_tampered_archives_are_not_unpacked(tmp_path: Path) -> None:
    with serving({"/LJSpeech-1.1.tar.bz2": LJ[:-1] + b"x"}) as server, pytest.raises(UserError, match="sha256"):
        download("ljspeech", tmp_path, {}, server.url)
    assert not (tmp_path / "wavs").exists()


def test_versions_and_subsets_choose_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed({"./one/a69b9b3e_nohash_0.wav": b"RIFF"})
    small = Archive("http://nowhere.invalid/a.tar.gz", hashlib.sha256(data).hexdigest(), len(data))
    monkeypatch.setattr(speech_commands, "ARCHIVES", {"0.01": small})
    with serving({"/a.tar.gz": data}) as server:
        download("speech_commands", tmp_path, {"version": "0.01", "words": "sc09"}, server.url)
        with pytest.raises(UserError, match=r"version '0\.03' cannot be downloaded; known are 0\.01"):
            download("speech_commands", tmp_path, {"version": "0.03"}, server.url)
    assert [e.text for e in prepare("speech_commands", tmp_path, tmp_path, 1, {"version": "0.01"}).entries] == ["one"]


def test_the_hub_lists_what_is_fetched_and_its_sha256(tmp_path: Path) -> None:
    files = {f"data/train-{number}.parquet": f"rows {number}".encode() for number in range(3)}
    base = "/datasets/ann/speech"
    served = {f"{base}/resolve/main/{name}": data for name, data in files.items()}

    def listed(data: bytes, name: str) -> dict[str, object]:
        oid = hashlib.sha256(data).hexdigest()
        return {"type": "file", "path": name, "size": len(data), "lfs": {"oid": oid, "size": len(data)}}

    listing = [listed(data, name) for name, data in files.items()]
    listing.append({"type": "directory", "path": "data"})
    listing.append({"type": "file", "path": "README.md", "size": 3})
    with serving(served) as server:
        server.files["/api/datasets/ann/speech/tree/main?recursive=true"] = json.dumps(listing).encode()
        options = {"repository": "ann/speech", "subsets": ["train-0", "train-2"]}
        download("hf_parquet", tmp_path, options, server.url)
        download("hf_parquet", tmp_path, options, server.url)
        assert len(server.asked) == 3
        with pytest.raises(UserError, match=r"404 .*is it public|is the data set public"):
            download("hf_parquet", tmp_path, {"repository": "ann/private"}, server.url)
        evil = [listed(b"x", "../evil.parquet")]
        server.files["/api/datasets/ann/evil/tree/main?recursive=true"] = json.dumps(evil).encode()
        with pytest.raises(UserError, match="points outside"):
            download("hf_parquet", tmp_path / "root", {"repository": "ann/evil"}, server.url)
    assert (tmp_path / "data/train-2.parquet").read_bytes() == files["data/train-2.parquet"]
    assert not (tmp_path / "data/train-1.parquet").exists()
    with pytest.raises(UserError, match="option 'repository'"):
        download("hf_parquet", tmp_path, {})


def test_a_missing_corpus_says_the_command() -> None:
    root = Path("LibriTTS")
    subsets = {"subsets": ["dev-clean", "test-clean"], "valid_share": 0.1}
    command = "respeak corpus download libritts LibriTTS --option subsets=dev-clean,test-clean"
    assert how_to_get("libritts", root, subsets) == f", or fetch it: {command}"
    assert "data-baker.com" in how_to_get("databaker", Path("BZNSYP"), {})
    assert how_to_get("folder", root, {}) == ""


@pytest.mark.parametrize("adapter", sorted(CORPORA))
def test_every_adapter_states_its_facts(adapter: str) -> None:
    facts = (getattr(CORPORA[adapter], "__doc__", None) or "").lower()
    assert "hour" in facts or "minutes" in facts
    assert "licence" in facts or "gpl" in facts or "public domain" in facts or "research only" in facts
    assert "http" in facts or adapter == "folder"
