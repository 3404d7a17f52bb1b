"""Rates of the streams: every recording is resampled to one rate, and units and F0 lie on fixed grids of its samples.

A bundle states its own rates beside its weights; these are the ones that it is made with here.
"""

from __future__ import annotations

SAMPLE_RATE = 16_000  # Hz, mono
UNIT_HOP = 320  # samples for each unit and encoder frame: 20 ms, 50 a second
F0_HOP = 80  # samples for each F0 frame: 5 ms, 200 a second
