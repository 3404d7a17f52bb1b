"""ASGAN: Baas & Kamper 2022, "GAN You Hear Me? Reclaiming Unconditional Speech Synthesis from Diffusion Models" (SLT).

The paper could not be read; values known from memory alone are not verified, and so not printed.
"""

from __future__ import annotations

from speech.metrics.bootstrap import SET_RESAMPLES
from stages.papers.paper_table import NOT_VERIFIED, Entry, PaperColumn, PaperTable, row

CITATION = "Baas & Kamper 2022"

TABLE = PaperTable(
    "Unconditional digits (ASGAN, Baas & Kamper 2022, Table 1)",
    CITATION,
    "a ResNeXt digit classifier on SC09, 2048 samples of each model",
    (
        PaperColumn("inception_score", "IS"),
        PaperColumn("modified_inception_score", "mIS", 1),
        PaperColumn("digit_fid", "FID"),
        PaperColumn("am_score", "AM"),
        PaperColumn("mos", "MOS", human=True),
    ),
    (
        row("Train set", *[NOT_VERIFIED] * 5, plays="digits_train"),
        row("Test set", *[NOT_VERIFIED] * 5, plays="ground_truth"),
        *(
            row(name, *[NOT_VERIFIED] * 5)
            for name in ("WaveGAN", "DiffWave", "Autoregressive SaShiMi", "SaShiMi + DiffWave")
        ),
        row("ASGAN (mel)", *[NOT_VERIFIED] * 5, plays="asgan_mel"),
        row("ASGAN (HuBERT)", *[NOT_VERIFIED] * 5, plays="asgan_hubert"),
    ),
    "FID: the Fréchet distance between what the classifier's last layer sees of a row's recordings and of its own "
    "training recordings; AM too compares with these. IS is of two halves, mIS of all pairs. Intervals of the four "
    f"are of at most {SET_RESAMPLES} resamples, less what resampling itself adds.",
)

TABLES = {
    "asgan": Entry(TABLE),
}
