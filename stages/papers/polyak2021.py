"""Values of Polyak et al. 2021, "Speech Resynthesis from Discrete Disentangled Self-Supervised Representations".

Interspeech 2021, arXiv 2104.00355, read from the ar5iv HTML rendering, which flattens tables: rows were put together
again and agree with the values that the prose repeats. For the ground-truth (GT) rows the order of the two data sets
could not be confirmed that way. Percent, lower is better; MOS with its 95 % half-width. VDE and FFE of Table 2 are of
speech whose F0 was flattened against the original F0, where *higher* is better (less F0 in the units): another
quantity than VDE and FFE of Table 1. Bit rates of the codec: paper and demo page; MUSHRA scores are only in a figure.
"""

from __future__ import annotations

from respeak.results.measured import SHUFFLED, TRUTH, UNTRAINED
from stages.papers.paper_table import ONLY_IN_A_FIGURE, Entry, PaperColumn, PaperTable, beats, row

CITATION = "Polyak et al. 2021"
JUDGES = (
    "a wav2vec 2.0 recogniser and a VoxCeleb2 d-vector speaker verifier, on LJSpeech and VCTK, with full-size models"
)
RECONSTRUCTED = "data set as reconstructed"

PER = PaperColumn("per", "PER %")
WER = PaperColumn("wer", "WER %")
EER = PaperColumn("eer", "EER %")
MOS = PaperColumn("mos", "MOS", human=True)


def _with_flat(experiment: str) -> dict[str, str]:
    """Return a conversion, and for the columns of flattened F0 the resynthesis of the same units."""
    return {"": experiment, "flat": experiment.replace("conversion", "flat")}


TABLE_1 = PaperTable(
    "Resynthesis (Polyak et al. 2021, Table 1)",
    CITATION,
    JUDGES,
    (PER, WER, PaperColumn("vde", "VDE %"), PaperColumn("ffe", "FFE %"), EER, MOS),
    (
        row("LJ: GT", 6.93, 5.60, None, None, None, (4.33, 0.20), note=RECONSTRUCTED),
        row("LJ: CPC", 9.66, 8.51, 13.48, 15.19, None, (3.31, 0.33)),
        row("LJ: HuBERT", 9.52, 6.96, 13.09, 15.00, None, (3.66, 0.33)),
        row("LJ: VQ-VAE", 12.77, 8.85, 7.19, 8.54, None, (3.66, 0.31)),
        row("VCTK: GT", 17.16, 4.32, None, None, 3.25, (4.08, 0.66), plays="ground_truth", note=RECONSTRUCTED),
        row("VCTK: CPC", 23.01, 14.49, 10.56, 11.13, 4.25, (3.33, 0.61)),
        row("VCTK: HuBERT", 19.66, 11.44, 9.77, 10.43, 5.79, (3.41, 0.66), plays="resynthesis"),
        row("VCTK: VQ-VAE", 31.97, 19.80, 5.20, 5.59, 4.28, (3.39, 0.58), plays="resynthesis_vqvae"),
    ),
)
TABLE_2 = PaperTable(
    "Voice conversion (Polyak et al. 2021, Table 2)",
    CITATION,
    JUDGES,
    (
        PER,
        WER,
        EER,
        MOS,
        PaperColumn("vde", "VDE % of flat F0", group="flat"),
        PaperColumn("ffe", "FFE % of flat F0", group="flat"),
    ),
    (
        row("VCTK: GT", 17.16, 4.32, 3.25, (4.11, 0.29), None, None, plays="ground_truth", note=RECONSTRUCTED),
        row("to LJ: CPC", 22.22, 16.11, 0.46, (3.57, 0.15), 46.68, 48.71),
        row("to LJ: HuBERT", 19.09, 12.23, 0.31, (3.71, 0.24), 39.20, 48.42),
        row("to LJ: VQ-VAE", 40.88, 36.96, 9.65, (2.90, 0.17), 10.54, 12.08),
        row("to VCTK: CPC", 23.58, 15.98, 4.83, (3.42, 0.24), 25.29, 26.97),
        row("to VCTK: HuBERT", 20.85, 12.72, 6.01, (3.58, 0.28), 23.46, 26.67, plays=_with_flat("conversion")),
        row("to VCTK: VQ-VAE", 36.88, 29.44, 11.56, (3.08, 0.34), 7.03, 7.80, plays=_with_flat("conversion_vqvae")),
    ),
    "VDE and FFE of flattened F0 are of resynthesis in the sources' own voices, every voiced frame at the speaker's "
    "mean, against the recordings' F0; they are better when higher: less F0 is left in the units.",
)
CODEC = PaperTable(
    "Codec (Polyak et al. 2021, Figure 2)",
    CITATION,
    "human listeners (MUSHRA) on VCTK, speakers disjoint from training",
    (PaperColumn("bitrate", "bit/s", digits=0), PaperColumn("mushra", "MUSHRA", human=True)),
    (
        row("uncompressed, 16 kHz", 256000.0, ONLY_IN_A_FIGURE, plays="ground_truth"),
        row("HuBERT, 50 units", 365.0, ONLY_IN_A_FIGURE, plays="codec_50"),
        row("HuBERT, 100 units", 415.0, ONLY_IN_A_FIGURE, plays="codec_100"),
        row("HuBERT, 200 units", 465.0, ONLY_IN_A_FIGURE, plays="codec_200"),
        row(
            "VQ-VAE, 256 units", 800.0, ONLY_IN_A_FIGURE, plays="codec_vqvae", note="the demo page's label, without F0"
        ),
        row("LPCNet", 1600.0, ONLY_IN_A_FIGURE),
        row("Codec2", 2400.0, ONLY_IN_A_FIGURE, plays="codec_codec2"),
        row("Speex (low anchor)", 4000.0, ONLY_IN_A_FIGURE, plays="codec_speex"),
        row("Opus wideband", 9000.0, ONLY_IN_A_FIGURE, plays="codec_opus"),
    ),
    "Units at 50 Hz and 65 bit/s of F0; neither entropy coding nor the speaker is counted. The paper's claim in words: "
    "HuBERT with 50 units scores best.",
)

TABLES = {
    "polyak1": Entry(
        TABLE_1,
        {"per": 3.0, "wer": 3.0, "vde": 3.0, "ffe": 3.0, "eer": 2.0},
        (
            beats("resynthesis", SHUFFLED, "wer", "resynthesis beats shuffled units in WER"),
            beats("resynthesis", UNTRAINED, "wer", "resynthesis beats an untrained model in WER"),
            beats("resynthesis", SHUFFLED, "ffe", "resynthesis beats shuffled units in FFE"),
            beats("resynthesis", "resynthesis_vqvae", "wer", "HuBERT units beat VQ-VAE units in WER"),
            beats("resynthesis_vqvae", "resynthesis", "ffe", "VQ-VAE units beat HuBERT units in FFE"),
        ),
        ("resynthesis", TRUTH),
    ),
    "polyak2": Entry(
        TABLE_2,
        {"per": 3.0, "wer": 3.0, "eer": 2.0},
        (
            beats("conversion", SHUFFLED, "wer", "conversion beats shuffled units in WER"),
            beats("conversion", UNTRAINED, "wer", "conversion beats an untrained model in WER"),
            beats("conversion", "conversion_vqvae", "wer", "HuBERT units beat VQ-VAE units in WER"),
        ),
        ("conversion", TRUTH),
    ),
    "codec": Entry(
        CODEC,
        {"bitrate": 5.0},
        (beats("codec_100", "codec_50", "wer", "100 units beat 50 units in WER"),),
    ),
}
