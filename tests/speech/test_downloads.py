"""Downloads against a server that behaves, breaks off, cannot continue, or sends other bytes."""

from __future__ import annotations

import hashlib
import random
import threading
from pathlib import Path

import pytest

from speech.errors import UserError
from speech.fetching.downloads import describe_size, fetch
from tests.speech.files_server import serving

DATA = random.Random(1).randbytes(3_000_000)
SHA = hashlib.sha256(DATA).hexdigest()


def part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def test_a_fresh_download_is_there_whole_and_is_not_fetched_again(tmp_path: Path) -> None:
    target = tmp_path / "a" / "weights.bin"
    with serving({"/w": DATA}) as server:
        assert fetch(server.url + "/w", SHA, target) == target
        assert fetch(server.url + "/w", SHA, target) == target
        assert server.asked == [None]
    assert target.read_bytes() == DATA
    assert [path.name for path in target.parent.iterdir()] == ["weights.bin"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_partial_file_is_continued_or_begun_anew_where_the_server_cannot(tmp_path: Path, ranges: bool) -> None:
    target = tmp_path / "weights.bin"
    part_of(target).write_bytes(DATA[:1_000_000])
    with serving({"/w": DATA}) as server:
        server.ranges = ranges
        fetch(server.url + "/w", SHA, target)
        assert server.asked == ["bytes=1000000-"]
    assert target.read_bytes() == DATA


def test_cut_connections_are_continued_and_what_came_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "weights.bin"
    with serving({"/w": DATA}) as server:
        server.cut_after = [500_000, 500_000]
        fetch(server.url + "/w", SHA, target)
        assert server.asked == [None, "bytes=500000-", "bytes=1000000-"]
        assert target.read_bytes() == DATA
        target.unlink()
        server.cut_after = [1000] * 4
        with pytest.raises(UserError, match=r"cut off 4 times at 4000 bytes .* run again"):
            fetch(server.url + "/w", SHA, target)
        assert not target.exists()
        server.cut_after, server.asked = [], []
        fetch(server.url + "/w", SHA, target)
        assert server.asked == ["bytes=4000-"]
    assert target.read_bytes() == DATA


def test_a_whole_but_unrenamed_file_needs_no_more_bytes(tmp_path: Path) -> None:
    target = tmp_path / "weights.bin"
    part_of(target).write_bytes(DATA)
    with serving({"/w": DATA}) as server:
        fetch(server.url + "/w", SHA, target)
    assert target.read_bytes() == DATA


def test_other_bytes_are_refused_and_not_kept(tmp_path: Path) -> None:
    target = tmp_path / "weights.bin"
    with serving({"/w": DATA[:-1] + b"\x00"}) as server:
        with pytest.raises(UserError, match=f"sha256 is .* expected {SHA}; not kept"):
            fetch(server.url + "/w", SHA, target)
        assert list(tmp_path.iterdir()) == []
        target.write_bytes(b"mine")
        with pytest.raises(UserError, match="delete it"):
            fetch(server.url + "/w", SHA, target)
    assert target.read_bytes() == b"mine"


def test_a_partial_file_of_something_else_costs_one_more_download(tmp_path: Path) -> None:
    target = tmp_path / "weights.bin"
    part_of(target).write_bytes(b"x" * 1000)
    with serving({"/w": DATA}) as server:
        fetch(server.url + "/w", SHA, target)
        assert server.asked == ["bytes=1000-", None]
    assert target.read_bytes() == DATA


def test_offline_and_refused_name_the_address_the_place_and_the_size(tmp_path: Path) -> None:
    target = tmp_path / "weights.bin"
    with serving({}) as server:
        with pytest.raises(UserError, match=r"/w: the server answered 404 .*\(378 MB\).* put it at .*weights\.bin"):
            fetch(server.url + "/w", SHA, target, size=378_000_000)
        url = server.url
    with pytest.raises(UserError, match=rf"{url}/w: cannot be reached .*\(378 MB\) at .*weights\.bin"):
        fetch(url + "/w", SHA, target, size=378_000_000)
    with pytest.raises(UserError, match="only http"):
        fetch("file:///etc/hostname", SHA, target)
    with pytest.raises(UserError, match=r"free, .* needed"):
        fetch(url + "/w", SHA, target, size=10**18)
    assert list(tmp_path.iterdir()) == []


def test_threads_that_want_one_file_download_it_once(tmp_path: Path) -> None:
    target = tmp_path / "weights.bin"
    with serving({"/w": DATA}) as server:
        threads = [threading.Thread(target=fetch, args=(server.url + "/w", SHA, target)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.asked == [None]
    assert target.read_bytes() == DATA


@pytest.mark.parametrize(
    ("size", "words"), [(None, "size unknown"), (12, "12 bytes"), (2_600_000_000, "2.6 GB"), (378_000_000, "378 MB")]
)
def test_sizes_are_told_for_people(size: int | None, words: str) -> None:
    assert describe_size(size) == words
