"""``respeak mel`` and ``vocode``: Soft-VC step by step, on files and folders, in the shapes of its public tools.

Units are ``.npy`` of ``(N,)`` integers or ``(N, D)`` floats, log-mels ``.npy`` of ``(128, M)`` float32, two frames of
10 ms for each unit; ``respeak units`` makes the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from respeak.cli.render_commands import Device, show_progress
from respeak.pairs import SUFFIXES, pair_files
from respeak.systems.registry import find_system
from speech.errors import AudioError, UserError

if TYPE_CHECKING:
    import numpy as np

    from respeak.systems.softvc.system import SoftVC

DEFAULT = Path("systems/softvc-soft")
BATCH = 16  # files of units at once: the acoustic model predicts many as fast as one
MELS = 128

System = Annotated[Path, typer.Option("--system", help="folder of a Soft-VC system")]
Output = Annotated[Path, typer.Argument(metavar="OUT", help="the file to write, or a folder: it is made")]


def mel(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="a recording or units (.npy), or a folder of the one or the other")
    ],
    output: Output,
    system: System = DEFAULT,
    target: Annotated[str | None, typer.Option(metavar="VOICE", help="of units; default: the system's one")] = None,
    precision: Annotated[
        str, typer.Option(help="of the acoustic model's weights: float32, bfloat16, int8")
    ] = "float32",
    device: Device = "auto",
) -> None:
    """Log-mels as .npy (128, M): of recordings, prepared as the system's were, or of units, predicted in its voice."""
    from respeak.systems.softvc.system import SoftVC

    units = _holds_units(source)
    pairs = pair_files(source, output, ".npy", (".npy",) if units else SUFFIXES)
    loaded = SoftVC.load(find_system(system), device)
    if units:
        loaded.precision = _precision(precision)
        _predict(loaded, pairs, loaded.one_voice(target, "--target"))
    else:
        _analyse(loaded, pairs, source)
    typer.echo(f"{len(pairs)} log-mels written to {output}")


def vocode(
    source: Annotated[Path, typer.Argument(metavar="IN", help="a log-mel (.npy, (128, M)), or a folder of them")],
    output: Output,
    system: System = DEFAULT,
    device: Device = "auto",
) -> None:
    """Log-mels to recordings, 16 kHz mono 16-bit .wav, 160 samples for each frame."""
    from respeak.systems.softvc.system import SoftVC
    from speech.audio.waveforms import write_wave

    pairs = pair_files(source, output, ".wav", (".npy",))
    loaded = SoftVC.load(find_system(system), device)
    for path, target in show_progress(pairs, "log-mels"):
        made = _read(path)
        if made.ndim != 2 or made.shape[0] != MELS or not made.shape[1]:
            raise UserError(f"{path}: expected a log-mel ({MELS}, M), found {made.shape}")
        write_wave(target, loaded.vocode(made.T), loaded.sample_rate)
    typer.echo(f"{len(pairs)} recordings written to {output}")


def _holds_units(source: Path) -> bool:
    if source.is_file():
        return source.suffix == ".npy"
    return source.is_dir() and any(path.suffix == ".npy" for path in source.rglob("*"))


def _precision(name: str) -> Any:
    from models.softvc.stepping import check_precision

    try:
        check_precision(name)
    except ValueError as error:
        raise UserError(f"--precision: {error}") from None
    return name


def _predict(system: SoftVC, pairs: Sequence[tuple[Path, Path]], voice: str) -> None:
    for batch in show_progress([pairs[i : i + BATCH] for i in range(0, len(pairs), BATCH)], "batches"):
        contents = [_read(path) for path, _ in batch]
        for (path, _), content in zip(batch, contents, strict=True):
            try:
                system.check_content(content)
            except UserError as error:
                raise UserError(f"{path}: {error}") from None
        for (_, target), made in zip(batch, system.mels(contents, [voice] * len(batch)), strict=True):
            _write(target, made.T)


def _analyse(system: SoftVC, pairs: Sequence[tuple[Path, Path]], source: Path) -> None:
    from speech.audio.decode import IsolatedDecoder

    with IsolatedDecoder() as decoder:
        for path, target in show_progress(pairs, "recordings"):
            try:
                wave, rate = decoder.read(path)
                _write(target, system.mel_of(wave, rate).T)
            except AudioError as error:
                reason = f"{error}" if str(path) in str(error) else f"{path}: {error}"
                raise AudioError(reason) from None


def _read(path: Path) -> np.ndarray:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: not a NumPy array ({error})") from None


def _write(path: Path, array: np.ndarray) -> None:
    import numpy as np

    from speech.storage.files import atomic_path

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(array, dtype=np.float32))


COMMANDS = (mel, vocode)
