"""hubert-pitdyn: explicit pitch and dynamics for soft units (Kahsolt, public repository, 2022); there is no paper.

Its README has no table. In its author's words the classifiers reach "a bit over 50 %" (of what is not said), and the
converted speech has more pitch errors and more phoneme errors than plain soft units.
"""

from __future__ import annotations

from stages.papers.paper_table import Entry, PaperColumn, PaperTable, beats, row

CITATION = "hubert-pitdyn 2022"

TABLE = PaperTable(
    "Pitch and dynamics control (hubert-pitdyn 2022)",
    CITATION,
    "the author's ear",
    (
        PaperColumn("pitch_accuracy", "pitch class accuracy %", 1),
        PaperColumn("dynamics_accuracy", "dynamics class accuracy %", 1),
        PaperColumn("wer", "WER %", 1),
        PaperColumn("ffe", "FFE %", 1),
        PaperColumn("f0_rmse_cents", "F0 RMSE cents", 0),
    ),
    (
        row("soft units", None, None, None, None, None, plays="pitdyn_soft"),
        row("soft units + pitch + dynamics", "a bit over 50", "a bit over 50", None, None, None, plays="pitdyn"),
        row("Ground truth", None, None, None, None, None, plays="ground_truth"),
    ),
    "Its author's claim in words: more pitch errors and more phoneme errors with pitch and dynamics than without.",
)

TABLES = {
    "pitdyn": Entry(
        TABLE,
        {},
        (
            beats("pitdyn", "pitdyn_soft", "ffe", "pitch and dynamics lower FFE"),
            beats("pitdyn_soft", "pitdyn", "wer", "plain soft units beat pitch and dynamics in WER"),
        ),
    ),
}
