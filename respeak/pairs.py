"""Pairs of files, one read and one written for it: one by one, or folders as they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speech.errors import UserError

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au")


def pair_files(
    source: Path, output: Path, suffix: str = ".wav", read: Sequence[str] = SUFFIXES
) -> list[tuple[Path, Path]]:
    """Pair each file to read with the one to write for it, sorted; nothing is written over what is read.

    Args:
        source: a file, or a folder that is searched in depth.
        output: a file, or a folder that keeps the layout of ``source``.
        suffix: of what is written.
        read: suffixes of what is looked for in a folder.

    Raises:
        UserError: the source is missing or holds no recording, output and source do not go together, or two
            recordings would be written to one file.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; give a recording or a folder of recordings")
    if source.is_file():
        target = output / f"{source.stem}{suffix}" if output.is_dir() else output
        if target.suffix.lower() != suffix:
            raise UserError(
                f"{target}: the output is written as {suffix}; give a name that ends in {suffix}, or a folder"
            )
        pairs = [(source, target)]
    else:
        pairs = _pair_folder(source, output, suffix, read)
    written: dict[Path, Path] = {}
    for recording, target in pairs:
        key = target.resolve()
        if key == recording.resolve():
            raise UserError(f"{target}: input and output are the same file; give another output")
        if key in written:
            raise UserError(f"{written[key]} and {recording} would both be written to {target}; rename one of them")
        written[key] = recording
    return pairs


def _pair_folder(source: Path, output: Path, suffix: str, read: Sequence[str]) -> list[tuple[Path, Path]]:
    if output.is_file():
        raise UserError(f"{output}: is a file, but {source} is a folder; give a folder to write to")
    if output.resolve() == source.resolve():
        raise UserError(f"{output}: input and output are the same folder; give another output")
    found = [p for p in sorted(source.rglob("*")) if p.suffix.lower() in read and p.is_file()]
    # What an earlier run wrote into a folder inside the source is no recording to convert again.
    found = [p for p in found if not p.resolve().is_relative_to(output.resolve())]
    what = "recordings" if read is SUFFIXES else "files"
    if not found:
        raise UserError(f"{source}: no {what} ({', '.join(read)}) in this folder or below it")
    return [(p, (output / p.relative_to(source)).with_suffix(suffix)) for p in found]
