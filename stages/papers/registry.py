"""Every table: the paper's, the experiments that fill it, what makes it at the paper's size, its files and tolerances.

``params.yaml`` says which of a table's experiments are run; rows of the others are shown as not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from respeak.results.measured import SHUFFLED, TRUTH, UNTRAINED, Claim
from stages.papers import baas2022, pitdyn2022, polyak2021, van_niekerk2022, yang2024
from stages.papers.table import PaperTable

FILES = ("table.md", "table.csv", "table.tex", "table.json", "measured.csv")
PHONEME_FILES = ("phonemes.csv", "phonemes.svg", "phonemes.png")
# The same judges on what bounds them: the recordings themselves, and speech that cannot be understood.
ANCHORS = {TRUTH: "ground truth", SHUFFLED: "shuffled units", UNTRAINED: "untrained model"}


@dataclass(frozen=True)
class Entry:
    """One table. ``configs`` are Hydra overrides; ``tolerance`` is in the metric's unit, against the paper's value.

    ``phonemes``: the experiments that are compared phoneme by phoneme.
    """

    paper: PaperTable
    configs: tuple[str, ...]
    tolerance: Mapping[str, float] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    phonemes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """What is written for it."""
        return (*FILES, *PHONEME_FILES) if self.phonemes else FILES

    @property
    def experiments(self) -> tuple[str, ...]:
        """The experiments that play a row of the paper, and the anchors, whether they are run or not."""
        played = [name for row in self.paper.rows for name in row.experiments.values()]
        return tuple(dict.fromkeys([*played, *ANCHORS]))


def _beats(better: str, worse: str, metric: str, words: str = "") -> Claim:
    return Claim(better, worse, metric, words or f"{better} beats {worse} in {metric.upper()}")


REGISTRY: dict[str, Entry] = {
    "polyak1": Entry(
        polyak2021.TABLE_1,
        ("scale=paper",),
        {"per": 3.0, "wer": 3.0, "vde": 3.0, "ffe": 3.0, "eer": 2.0},
        (
            _beats("resynthesis", SHUFFLED, "wer", "resynthesis beats shuffled units in WER"),
            _beats("resynthesis", UNTRAINED, "wer", "resynthesis beats an untrained model in WER"),
            _beats("resynthesis", SHUFFLED, "ffe", "resynthesis beats shuffled units in FFE"),
            _beats("resynthesis", "resynthesis_vqvae", "wer", "HuBERT units beat VQ-VAE units in WER"),
            _beats("resynthesis_vqvae", "resynthesis", "ffe", "VQ-VAE units beat HuBERT units in FFE"),
        ),
        ("resynthesis", TRUTH),
    ),
    "polyak2": Entry(
        polyak2021.TABLE_2,
        ("scale=paper",),
        {"per": 3.0, "wer": 3.0, "eer": 2.0},
        (
            _beats("conversion", SHUFFLED, "wer", "conversion beats shuffled units in WER"),
            _beats("conversion", UNTRAINED, "wer", "conversion beats an untrained model in WER"),
            _beats("conversion", "conversion_vqvae", "wer", "HuBERT units beat VQ-VAE units in WER"),
        ),
        ("conversion", TRUTH),
    ),
    "codec": Entry(
        polyak2021.CODEC,
        ("scale=paper",),
        {"bitrate": 5.0},
        (_beats("codec_100", "codec_50", "wer", "100 units beat 50 units in WER"),),
    ),
    "softvc1": Entry(
        van_niekerk2022.TABLE_1,
        ("scale=paper",),
        {"per": 2.0, "wer": 2.0, "genuine_eer": 5.0},
        (
            _beats("softvc_soft", "softvc_discrete", "wer", "soft units beat discrete units in WER"),
            _beats("softvc_soft", "softvc_raw", "wer", "soft units beat raw features in WER"),
            _beats("softvc_soft", SHUFFLED, "wer", "soft units beat shuffled units in WER"),
            _beats("softvc_soft", "softvc_discrete", "genuine_eer", "soft units pay in EER against genuine speech"),
            _beats("softvc_raw", "softvc_soft", "genuine_eer", "raw features pay more in EER against genuine speech"),
        ),
        ("softvc_discrete", "softvc_soft", TRUTH),
    ),
    "softvc2": Entry(
        van_niekerk2022.TABLE_2,
        ("scale=paper",),
        {"wer": 4.0, "genuine_eer": 5.0},
        tuple(
            _beats(
                f"softvc_soft_{language}",
                f"softvc_discrete_{language}",
                "wer",
                f"soft units beat discrete units in WER, {language.title()}",
            )
            for language in ("french", "afrikaans")
        ),
    ),
    "streamvc": Entry(
        yang2024.TABLE,
        ("scale=paper",),
        {"f0_pcc": 0.05},
        (
            _beats("streamvc", SHUFFLED, "wer", "StreamVC beats shuffled units in WER"),
            _beats("streamvc", "streamvc_without_f0", "ffe", "F0 input lowers FFE"),
        ),
    ),
    "asgan": Entry(baas2022.TABLE, ("scale=paper",), {}),
    "pitdyn": Entry(
        pitdyn2022.TABLE,
        ("scale=paper",),
        {},
        (
            _beats("pitdyn", "pitdyn_soft", "ffe", "pitch and dynamics lower FFE"),
            _beats("pitdyn_soft", "pitdyn", "wer", "plain soft units beat pitch and dynamics in WER"),
        ),
    ),
}
