"""VCTK: newspaper sentences read by about 110 English speakers of many accents, 48 kHz.

About 400 sentences each, 44 hours in all. Two versions are read. 0.92: ``wav48_silence_trimmed/<speaker>/
<speaker>_<n>_mic1.flac`` and ``..._mic2.flac`` (110 speakers, silence cut). 0.80: ``wav48/<speaker>/
<speaker>_<n>.wav`` (109 speakers, one microphone). Both: ``txt/<speaker>/<speaker>_<n>.txt``. p280 has no
microphone 2, p315 no text, p362 some gaps.
Licence CC BY 4.0 (0.92) and ODC-By 1.0 (0.80), J. Yamagishi et al. (2019).
https://datashare.ed.ac.uk/handle/10283/3443

The resynthesis paper (Polyak et al. 2021) takes microphone 2 of the 107 speakers without p280, p315 and s5, 5 %
validation and 5 % test at random: 2174 and 2173 utterances.
"""

from __future__ import annotations

import re
from pathlib import Path

from speech.corpora.install import Archive, install
from speech.corpora.listing import Entry, Listing, find_files
from speech.corpora.splits import split_utterances, utterance_name
from speech.errors import UserError

LAYOUT = "wav48_silence_trimmed/<speaker>/*_mic2.flac (0.92) or wav48/<speaker>/*.wav (0.80), and txt/<speaker>/*.txt"
FOLDERS = {"wav48_silence_trimmed": "0.92", "wav48": "0.80"}
ARCHIVES = [
    Archive(
        "https://datashare.is.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip",
        "f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c",
        11_700_000_000,
        "VCTK-Corpus-0.92",
    )
]
RECORDING = re.compile(r"_(mic\d)$")


def download(root: Path, mirror: str) -> None:
    """Fetch version 0.92 into ``root``; 0.80 has no published sha256 and is fetched by hand."""
    install(ARCHIVES, root, mirror)


def prepare(
    root: Path,
    out: Path,
    seed: int,
    *,
    microphone: str = "mic2",
    speakers: list[str] | None = None,
    exclude: list[str] | None = None,
    valid_share: float = 0.05,
    test_share: float = 0.05,
    lists: str = "",
) -> Listing:
    """List the sentences of one microphone; ids are the same in both versions (``p225_001``).

    Args:
        root: the corpus's folder; its layout tells the version.
        out: not used.
        seed: draws the split.
        microphone: mic1 or mic2; version 0.80 has one only and does not look at this.
        speakers: keep only these; None keeps all.
        exclude: leave these out, where they are there.
        valid_share: share of all utterances for validation.
        test_share: share of all utterances for testing.
        lists: folder of split lists, instead of a drawn split.

    Raises:
        UserError: neither layout at ``root``, an unknown microphone or speaker.
    """
    if microphone not in ("mic1", "mic2"):
        raise UserError(f"corpus adapter 'vctk': option 'microphone' must be mic1 or mic2, not '{microphone}'")
    found = _recordings(root)
    known = {speaker for _, speaker, _ in found.values()}
    for speaker in speakers or []:
        if speaker not in known:
            raise UserError(f"{root}: no speaker '{speaker}'; speakers are {', '.join(sorted(known))}")
    kept = {
        id_: one
        for id_, one in found.items()
        if (speakers is None or one[1] in speakers) and one[1] not in (exclude or [])
    }
    recorded = {id_: files.get(microphone) or files.get("") for id_, (_, _, files) in kept.items()}
    rejects = [
        (next(iter(kept[i][2].values())), f"has no {microphone}") for i, path in recorded.items() if path is None
    ]
    splits = split_utterances([i for i, path in recorded.items() if path], seed, valid_share, test_share, lists)
    rejects += [(path, "is in no list") for i, path in recorded.items() if path and i not in splits]
    entries = [
        Entry(i, path, kept[i][1], _text(kept[i][0], kept[i][1], i), splits[i])
        for i, path in recorded.items()
        if path and i in splits
    ]
    return Listing(root, entries, rejects)


def _recordings(root: Path) -> dict[str, tuple[Path, str, dict[str, str]]]:
    """Find, by id: the corpus's folder, the speaker, and the relative path by microphone ('' for the only one)."""
    folder = next((root / name for name in FOLDERS if (root / name).is_dir()), None)
    if folder is None:
        raise UserError(f"{root}: no VCTK corpus; expected {LAYOUT}")
    found: dict[str, tuple[Path, str, dict[str, str]]] = {}
    for path in find_files(folder, [".flac", ".wav"], LAYOUT):
        match = RECORDING.search(path.stem)
        entry = found.setdefault(utterance_name(path.name), (root, path.parent.name, {}))
        entry[2][match[1] if match else ""] = path.relative_to(root).as_posix()
    return found


def _text(root: Path, speaker: str, id_: str) -> str | None:
    path = root / "txt" / speaker / f"{id_}.txt"
    return path.read_text(encoding="utf-8").strip() or None if path.is_file() else None
