"""Section ``evaluate``: the judges, whose settings :mod:`speech.judges.settings` describes."""

from __future__ import annotations

from speech.judges.settings import Evaluate

SECTIONS = {"evaluate": Evaluate}
