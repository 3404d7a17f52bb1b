"""StreamVC: Yang et al. 2024, "StreamVC: Real-Time Low-Latency Voice Conversion", ICASSP 2024, arXiv 2401.03078.

The paper itself could not be read. The F0 correlations and the latency come from two third-party notes that agree;
everything else is not verified, and so not printed.
"""

from __future__ import annotations

from respeak.results.measured import SHUFFLED
from stages.papers.paper_table import NOT_VERIFIED, Entry, PaperColumn, PaperTable, beats, row

CITATION = "Yang et al. 2024"
SECONDARY = "F0 correlation as third-party notes quote it"

TABLE = PaperTable(
    "Streaming conversion (StreamVC, Yang et al. 2024)",
    CITATION,
    "a recogniser, DNSMOS and Resemblyzer, on LibriTTS and VCTK; their protocol is not verified",
    (
        PaperColumn("wer", "WER %"),
        PaperColumn("cer", "CER %"),
        PaperColumn("speaker_similarity", "speaker similarity %"),
        PaperColumn("f0_pcc", "F0 correlation", 3),
        PaperColumn("dnsmos_signal", "DNSMOS SIG"),
        PaperColumn("dnsmos_background", "DNSMOS BAK"),
        PaperColumn("dnsmos", "DNSMOS OVRL"),
        PaperColumn("latency_ms", "latency ms", 1),
    ),
    (
        row(
            "StreamVC (LibriTTS)",
            *[NOT_VERIFIED] * 3,
            0.842,
            *[NOT_VERIFIED] * 3,
            70.8,
            plays="streamvc",
            note=SECONDARY,
        ),
        row("StreamVC + VCTK", *[NOT_VERIFIED] * 7, None, plays="streamvc_tuned"),
        row(
            "StreamVC without F0",
            *[NOT_VERIFIED] * 3,
            0.461,
            *[NOT_VERIFIED] * 3,
            None,
            note=SECONDARY,
            plays="streamvc_without_f0",
        ),
        row("StreamVC without whitening", *[NOT_VERIFIED] * 7, None, plays="streamvc_without_whitening"),
        *(row(name, *[NOT_VERIFIED] * 7, None) for name in ("Diff-VC", "VQMIVC", "BNE-PPG-VC", "QuickVC")),
    ),
    "Latency is 60 ms of the architecture and 10.8 ms of computing on one core of a Pixel 7, by third-party notes.",
)

TABLES = {
    "streamvc": Entry(
        TABLE,
        {"f0_pcc": 0.05},
        (
            beats("streamvc", SHUFFLED, "wer", "StreamVC beats shuffled units in WER"),
            beats("streamvc", "streamvc_without_f0", "ffe", "F0 input lowers FFE"),
        ),
    ),
}
