"""Values of van Niekerk et al. 2022, "A Comparison of Discrete and Soft Speech Units for Improved Voice Conversion".

ICASSP 2022, arXiv 2111.02392v2, read from the PDF. Percent. PER, WER: lower is better. EER here is of converted against
genuine target utterances, so that 50 % (not to be told apart) is best: not the verification error of the other tables.
"""

from __future__ import annotations

from respeak.results.measured import SHUFFLED, TRUTH
from stages.papers.paper_table import Entry, PaperColumn, PaperTable, beats, row

CITATION = "van Niekerk et al. 2022"
SPOOF_EER = "Their EER is of converted against genuine target speech: 50 % is best."

# Figure 2, discrete and soft units, measured from the PDF's vector bars (within 0.1). Theirs are the phones of Epitran;
# left out are those that have no one phone here: the schwa and the vowel of "cut" (both AH), the a that AY and AW begin
# with, and a rhotic variant whose label could not be read for certain.
_FIGURE_2 = {
    "IY": (5.1, 3.7), "IH": (11.2, 8.2), "EY": (5.2, 6.8), "EH": (12.9, 9.7), "AE": (15.1, 10.7), "AA": (14.9, 11.7),
    "AO": (12.1, 8.4), "UH": (27.3, 11.6), "OW": (9.4, 7.0), "UW": (9.9, 5.6),
    "R": (7.1, 5.3), "L": (4.1, 3.4), "W": (6.7, 4.7), "Y": (7.0, 5.4),
    "P": (20.4, 13.3), "T": (13.1, 10.4), "K": (13.0, 6.3), "F": (7.0, 5.7), "TH": (31.0, 18.9), "S": (5.9, 5.0),
    "SH": (4.3, 2.6), "CH": (9.6, 3.9), "HH": (13.7, 9.9), "B": (11.2, 9.1), "D": (16.0, 12.7), "G": (24.5, 11.1),
    "V": (7.8, 7.0), "DH": (7.7, 7.4), "Z": (11.0, 9.6), "ZH": (10.3, 3.1), "JH": (8.6, 5.4),
    "M": (4.0, 2.8), "N": (4.4, 3.0), "NG": (11.4, 5.4),
}  # fmt: skip

TABLE_1 = PaperTable(
    "Any-to-one conversion, English (van Niekerk et al. 2022, Table 1)",
    CITATION,
    "a HuBERT-Large recogniser, the Allosaurus phone recogniser and x-vectors, LibriSpeech dev-clean to LJSpeech",
    (
        PaperColumn("per", "PER %", 1),
        PaperColumn("wer", "WER %", 1),
        PaperColumn("genuine_eer", "EER % against genuine", 1),
        PaperColumn("mos", "MOS", human=True),
    ),
    (
        row("HuBERT-Discrete", 10.4, 5.4, 49.8, (3.69, 0.13), plays="softvc_discrete"),
        row("HuBERT-Soft", 7.8, 2.6, 45.6, (4.15, 0.12), plays="softvc_soft"),
        row("HuBERT-Raw-Features", 11.3, 2.8, 27.8, None, plays="softvc_raw"),
        row("CPC-Discrete", 14.5, 8.1, 50.0, (3.37, 0.13)),
        row("CPC-Soft", 11.4, 3.7, 41.3, (3.91, 0.12)),
        row("CPC-Raw-Features", 14.6, 3.6, 5.2, None),
        row("AutoVC", 58.3, 73.3, 13.3, (1.09, 0.04)),
        row("Cascaded ASR-TTS", 8.4, 7.4, 46.8, (3.15, 0.11)),
        row("Ground truth", 7.9, 2.0, None, (4.57, 0.10), plays="ground_truth"),
    ),
    SPOOF_EER,
    {
        "softvc_discrete": {phone: discrete for phone, (discrete, _) in _FIGURE_2.items()},
        "softvc_soft": {phone: soft for phone, (_, soft) in _FIGURE_2.items()},
    },
)

TABLE_2 = PaperTable(
    "Any-to-one conversion across languages (van Niekerk et al. 2022, Table 2)",
    CITATION,
    "wav2vec 2.0 (French), Google Cloud Speech-to-Text (Afrikaans) and x-vectors, CSS10 and South African TTS corpora",
    (
        PaperColumn("wer", "WER %, French", 1, group="french"),
        PaperColumn("genuine_eer", "EER % against genuine, French", 1, group="french"),
        PaperColumn("wer", "WER %, Afrikaans", 1, group="afrikaans"),
        PaperColumn("genuine_eer", "EER % against genuine, Afrikaans", 1, group="afrikaans"),
    ),
    (
        row(
            "HuBERT-Discrete",
            *(64.6, 49.6, 24.7, 37.6),
            plays={"french": "softvc_discrete_french", "afrikaans": "softvc_discrete_afrikaans"},
        ),
        row(
            "HuBERT-Soft",
            *(28.2, 33.9, 12.9, 28.2),
            plays={"french": "softvc_soft_french", "afrikaans": "softvc_soft_afrikaans"},
        ),
        row(
            "Ground truth",
            *(14.6, None, 8.0, None),
            plays={"french": "ground_truth_french", "afrikaans": "ground_truth_afrikaans"},
        ),
    ),
    SPOOF_EER,
)

TABLES = {
    "softvc1": Entry(
        TABLE_1,
        {"per": 2.0, "wer": 2.0, "genuine_eer": 5.0},
        (
            beats("softvc_soft", "softvc_discrete", "wer", "soft units beat discrete units in WER"),
            beats("softvc_soft", "softvc_raw", "wer", "soft units beat raw features in WER"),
            beats("softvc_soft", SHUFFLED, "wer", "soft units beat shuffled units in WER"),
            beats("softvc_soft", "softvc_discrete", "genuine_eer", "soft units pay in EER against genuine speech"),
            beats("softvc_raw", "softvc_soft", "genuine_eer", "raw features pay more in EER against genuine speech"),
        ),
        ("softvc_discrete", "softvc_soft", TRUTH),
    ),
    "softvc2": Entry(
        TABLE_2,
        {"wer": 4.0, "genuine_eer": 5.0},
        tuple(
            beats(
                f"softvc_soft_{language}",
                f"softvc_discrete_{language}",
                "wer",
                f"soft units beat discrete units in WER, {language.title()}",
            )
            for language in ("french", "afrikaans")
        ),
    ),
}
