"""Units in the formats of other projects, to and from our Parquet shards.

    codes   ``name|5 5 12`` a line, as GSLM's quantiser writes it; also ``name<TAB>5,5,12`` (CPC)
    km      fairseq: ``manifest.tsv`` (root, then ``path<TAB>samples``) and ``units.km``, ``5 5 12`` a line
    dict    the resynthesis paper's manifests: a Python literal a line, ``audio``, units by kind, ``duration``
    npy     a folder of ``<name>.npy``, or one alone, each ``(N,)`` integers, as soft-vc keeps them

What ``respeak units`` wrote is read too (``times``): a ``<name>.tsv`` or ``.json``, or a folder of them.

Literals are parsed, never run, and arrays are read without pickle. Text is indexed, not held: what is in memory is a
name and a position per utterance.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from speech.corpora.splits import utterance_name
from speech.errors import UserError
from speech.rates import SAMPLE_RATE, UNIT_HOP
from speech.storage.shards import UNITS, read_shard, shard_name, shard_paths, write_shard
from speech.units import fit_units

FORMATS = ("codes", "km", "dict", "npy")
TIMES = "times"
TIMES_HEAD = "start\tend\tunit\n"
DICT_KEYS = ("cpc_km100", "vqvae256", "hubert", "codes")  # looked up in this order by the paper's code
SHARD_UTTERANCES = 2000
LARGEST = 65535


@dataclass(frozen=True)
class Found:
    """The utterances of a foreign file, in its order: names, and how to read the units (N,) of the n-th."""

    names: list[str]
    read: Callable[[int], np.ndarray]


def detect_format(source: Path) -> str:
    """Detect the format of a file or folder, by its name and first line.

    Raises:
        UserError: nothing is there, or it is none that is known.
    """
    if source.is_dir():
        if any(source.glob("*.km")):
            return "km"
        return TIMES if not any(source.rglob("*.npy")) and _files_of_times(source) else "npy"
    if not source.is_file():
        raise UserError(f"{source}: no such file or folder of units")
    if _files_of_times(source):
        return TIMES
    if source.suffix in (".km", ".tsv"):
        return "km"
    if source.suffix == ".npy":
        return "npy"
    with source.open("rb") as file:
        start = file.readline(4096)
    if start.startswith(b"{"):
        return "dict"
    if b"|" in start or b"\t" in start:
        return "codes"
    raise UserError(f"{source}: not a format of units that is known; name one of {', '.join(FORMATS)} (--format)")


def open_units(source: Path, kind: str) -> Found:
    """Index a foreign file or folder.

    Raises:
        UserError: an unknown format, nothing in it, a damaged line, or two utterances of one name.
    """
    openers = {"codes": _open_codes, "km": _open_km, "dict": _open_dict, "npy": _open_npy, TIMES: _open_times}
    if kind not in openers:
        raise UserError(f"format '{kind}' is unknown; known are {', '.join(openers)}")
    if not source.exists():
        raise UserError(f"{source}: no such file or folder of units")
    found = openers[kind](source)
    if not found.names:
        raise UserError(f"{source}: no utterances in it")
    seen: set[str] = set()
    for name in found.names:
        if name in seen:
            raise UserError(f"{source}: utterance '{name}' occurs twice; names must tell utterances apart")
        seen.add(name)
    return found


def import_units(found: Found, output: Path, like: Path | None = None, hop: int = UNIT_HOP) -> int:
    """Write shards of units, ``part-00000.parquet ...``, and return the largest unit.

    Args:
        found: what ``open_units`` gave.
        output: a folder, which must not hold shards.
        like: the corpus's folder of audio shards; the units then come out in its shards, matched by id, one per
            ``hop`` samples (a difference of up to two at the end is cut, or filled with the last unit).
        hop: samples at 16 kHz per unit.

    Raises:
        UserError: shards are there already, a unit that is none, an utterance without units or of another length.
    """
    if output.is_dir() and any(output.glob("part-*.parquet")):
        raise UserError(f"{output}: holds shards already; give another folder or delete them")
    largest = 0

    def rows(chosen: Iterator[tuple[str, int, int | None]]) -> Iterator[dict[str, Any]]:
        nonlocal largest
        for id_, position, wanted in chosen:
            units = found.read(position)
            largest = max(largest, int(units.max()))
            yield {"id": id_, "units": units if wanted is None else fit_units(id_, units, wanted)}

    meta = {"stage": "units", "hop": hop, "origin": "imported"}
    for index, chosen in enumerate(_plan(found, like, hop)):
        write_shard(output / shard_name(index), rows(chosen), UNITS, meta)
    return largest


def export_units(directory: Path, output: Path, kind: str, key: str = "hubert") -> int:
    """Write units of ours in a foreign format and return the number of utterances.

    Args:
        directory: a corpus's folder (``data/<corpus>`` with ``units``, ``audio`` and ``corpus``), or, for codes and
            npy, any folder of unit shards.
        output: a file for codes and dict; a folder for km (``manifest.tsv``, ``units.km``) and npy.
        kind: codes, km, dict or npy.
        key: the name that units have in a dict.

    Raises:
        UserError: an unknown format, no units, or a corpus without what the format needs.
    """
    if kind not in FORMATS:
        raise UserError(f"format '{kind}' is unknown; known are {', '.join(FORMATS)}")
    if kind == "npy":
        return _export_npy(directory, output)
    if kind == "codes":
        units = directory / "units" if (directory / "units").is_dir() else directory
        lines = (f"{row['id']}|{_joined(row['units'])}\n" for path in shard_paths(units) for row in read_shard(path))
        return _write_lines(output, lines)
    root = corpus_root(directory)
    if kind == "dict":
        literals = (
            repr({"audio": str(PurePosixPath(root) / path), key: _joined(units), "duration": samples / SAMPLE_RATE})
            + "\n"
            for path, samples, units in corpus_units(directory)
        )
        return _write_lines(output, literals)
    tsv = (f"{path}\t{samples}\n" for path, samples, _ in corpus_units(directory))
    count = _write_lines(output / "manifest.tsv", tsv, f"{root}\n")
    _write_lines(output / "units.km", (f"{_joined(units)}\n" for _, _, units in corpus_units(directory)))
    return count


def corpus_root(corpus: Path) -> str:
    """Return the folder that a corpus's recordings are relative to."""
    from speech.storage.shards import shard_meta

    return shard_meta(corpus / "corpus" / "manifest.parquet")["root"]


def corpus_units(corpus: Path) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield path of the recording, samples at 16 kHz after conditioning, and units of each utterance of a corpus."""
    from speech.storage.shards import zip_shards

    paths = {row["id"]: row["path"] for row in read_shard(corpus / "corpus" / "manifest.parquet", ["id", "path"])}
    for units, audio in zip(shard_paths(corpus / "units"), shard_paths(corpus / "audio"), strict=True):
        for row, source in zip_shards(units, audio, columns=(["id", "units"], ["id", "num_samples"])):
            yield paths[row["id"]], source["num_samples"], row["units"]


def parse_units(text: str, where: str) -> np.ndarray:
    """Parse units (N,) uint16 of a text of integers between spaces or commas.

    Raises:
        UserError: nothing in it, or something that is no unit.
    """
    words = text.replace(",", " ").split()
    if not words:
        raise UserError(f"{where}: has no units")
    try:
        return _checked(np.array([int(word) for word in words], dtype=np.int64), where)
    except (ValueError, OverflowError):
        wrong = next(word for word in words if not re.fullmatch(r"[+-]?[0-9]{1,18}", word))
        raise UserError(f"{where}: '{wrong[:40]}' is no unit; expected integers between spaces or commas") from None


def _checked(units: np.ndarray, where: str) -> np.ndarray:
    if units.ndim != 1 or not np.issubdtype(units.dtype, np.integer):
        raise UserError(f"{where}: expected integers (N,), found {units.dtype} {units.shape}; soft units are none")
    if not len(units) or units.min() < 0 or units.max() > LARGEST:
        found = f"{units.min()} to {units.max()}" if len(units) else "none"
        raise UserError(f"{where}: units must be 0 to {LARGEST}, found {found}")
    return units.astype(np.uint16)


def _plan(found: Found, like: Path | None, hop: int) -> Iterator[Iterator[tuple[str, int, int | None]]]:
    """Yield, by shard: id, position in the foreign file, and units that are wanted of it."""
    if like is None:
        for start in range(0, len(found.names), SHARD_UTTERANCES):
            names = found.names[start : start + SHARD_UTTERANCES]
            yield ((name, start + offset, None) for offset, name in enumerate(names))
        return
    positions = {name: position for position, name in enumerate(found.names)}
    for path in shard_paths(like):
        rows = list(read_shard(path, ["id", "num_samples"]))
        if missing := [row["id"] for row in rows if _position(positions, row["id"]) is None]:
            raise UserError(f"{path}: utterance '{missing[0]}' has no units in the import; {len(missing)} lack them")
        yield ((row["id"], _position(positions, row["id"]) or 0, row["num_samples"] // hop) for row in rows)


def _position(positions: dict[str, int], id_: str) -> int | None:
    """Find by id; an id of a folder's tree (``ann--a``) is also found by its file's name."""
    found = positions.get(id_)
    return positions.get(utterance_name(id_.rsplit("--", 1)[-1])) if found is None else found


def _open_codes(source: Path) -> Found:
    def name(line: str, where: str) -> str:
        first, separator, _ = _halves(line)
        if not separator:
            raise UserError(f"{where}: is not 'name|units'")
        return utterance_name(first)

    return _open_lines(source, name, lambda line: _halves(line)[2])


def _halves(line: str) -> tuple[str, str, str]:
    return line.partition("|") if "|" in line else line.partition("\t")


def _open_dict(source: Path) -> Found:
    def name(line: str, where: str) -> str:
        try:
            return utterance_name(str(_literal(line)["audio"]))
        except (ValueError, KeyError):
            raise UserError(f"{where}: is no dictionary with the key 'audio'") from None

    def units(line: str) -> str:
        entry = _literal(line)
        return str(next((entry[key] for key in DICT_KEYS if key in entry), ""))

    return _open_lines(source, name, units)


def _literal(line: str) -> dict[str, Any]:
    try:
        entry = ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("not a literal") from None
    if not isinstance(entry, dict):
        raise ValueError("not a dictionary")
    return entry


def _open_km(source: Path) -> Found:
    folder = source if source.is_dir() else source.parent
    pick = {suffix: sorted(folder.glob(f"*{suffix}")) for suffix in (".tsv", ".km")}
    if not source.is_dir():
        pick = {suffix: [source.with_suffix(suffix)] for suffix in pick}
    if any(len(paths) != 1 or not paths[0].is_file() for paths in pick.values()):
        raise UserError(f"{source}: expected one .tsv and one .km of the same name, or a folder with one of each")
    (tsv,), (km,) = pick[".tsv"], pick[".km"]
    names = [utterance_name(line.split("\t")[0]) for line in tsv.read_text(encoding="utf-8").splitlines()[1:] if line]
    counted = iter(range(len(names) + 1))
    lines = _open_lines(km, lambda _, __: str(next(counted, len(names))), lambda line: line)
    if len(lines.names) != len(names):
        raise UserError(f"{km}: {len(lines.names)} lines of units for {len(names)} recordings in {tsv}")
    return Found(names, lines.read)


def _open_npy(source: Path) -> Found:
    paths = sorted(source.rglob("*.npy")) if source.is_dir() else [source]

    def read(position: int) -> np.ndarray:
        try:
            return _checked(np.load(paths[position], allow_pickle=False), str(paths[position]))
        except (ValueError, OSError, EOFError) as error:
            raise UserError(f"{paths[position]}: not a NumPy array ({str(error).splitlines()[0]})") from None

    return Found([path.stem for path in paths], read)


def _files_of_times(source: Path) -> list[Path]:
    """Find what ``respeak units`` wrote there as text, if anything: known by its suffix or its first line."""
    paths = sorted(source.rglob("*")) if source.is_dir() else [source]

    def ours(path: Path) -> bool:
        if path.suffix != ".tsv":
            return path.suffix == ".json"
        with path.open("rb") as file:
            return file.readline(len(TIMES_HEAD) + 1) == TIMES_HEAD.encode()

    return [path for path in paths if path.is_file() and ours(path)]


def _open_times(source: Path) -> Found:
    paths = _files_of_times(source)

    def read(position: int) -> np.ndarray:
        path = paths[position]
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".json":
                units = [str(unit) for unit in json.loads(text)["units"]]
            else:
                units = [line.split("\t")[2] for line in text.splitlines()[1:]]
        except (ValueError, KeyError, TypeError, IndexError):
            raise UserError(f"{path}: not what respeak units writes; write it again") from None
        return parse_units(" ".join(units), str(path))

    return Found([path.stem for path in paths], read)


def _open_lines(source: Path, name: Callable[[str, str], str], units: Callable[[str], str]) -> Found:
    """Index a text by line; blank lines do not count."""
    names, offsets, numbers = [], [], []
    with source.open("rb") as file:
        offset = 0
        for number, raw in enumerate(file, start=1):
            if raw.strip():
                names.append(name(_decoded(raw, source, number), f"{source}: line {number}"))
                offsets.append(offset)
                numbers.append(number)
            offset += len(raw)

    def read(position: int) -> np.ndarray:
        with source.open("rb") as file:
            file.seek(offsets[position])
            line = _decoded(file.readline(), source, numbers[position])
        return parse_units(units(line), f"{source}: line {numbers[position]}")

    return Found(names, read)


def _decoded(raw: bytes, source: Path, number: int) -> str:
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UserError(f"{source}: line {number} is not UTF-8 text") from None


def _joined(units: np.ndarray) -> str:
    return " ".join(map(str, units.tolist()))


def _write_lines(path: Path, lines: Iterator[str], head: str = "") -> int:
    from speech.storage.files import atomic_path

    count = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(head)
        for line in lines:
            file.write(line)
            count += 1
    return count


def _export_npy(directory: Path, output: Path) -> int:
    from speech.storage.files import atomic_path

    count = 0
    for path in shard_paths(directory / "units" if (directory / "units").is_dir() else directory):
        for row in read_shard(path, ["id", "units"]):
            if "/" in row["id"] or row["id"].startswith("."):
                raise UserError(f"{path}: id '{row['id']}' is no file name; export as codes instead")
            with atomic_path(output / f"{row['id']}.npy") as temporary:
                np.save(temporary, row["units"].astype(np.int64))
            count += 1
    return count
