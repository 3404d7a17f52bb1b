"""The log-mel that acoustic model and vocoder agree on (van Niekerk et al. 2022, section 2.3).

B: batch, T: samples at 16 kHz, M: mel frames of 10 ms (``T // 160``).
"""

from __future__ import annotations

from torch import Tensor

from speech.mel_spectrogram import MelSettings, log_mel
from speech.rates import SAMPLE_RATE

# 128 bands of 64 ms windows every 10 ms, magnitudes without a floor under the root; the first frame is centred on
# sample 80, so that two frames lie under each unit.
MEL = MelSettings(sample_rate=SAMPLE_RATE, n_fft=1024, hop=160, n_mels=128, power_floor=0.0)
FRAMES_PER_UNIT = 2
SILENCE = -11.512925  # log 1e-5, the least value of a log-mel
SHORTEST = (MEL.n_fft - MEL.hop) // 2 + 1  # samples: reflection needs one more than it adds


def wave_to_mel(wave: Tensor) -> Tensor:
    """Compute log-mels ``(B, 128, T // 160)`` of waveforms ``(B, T)`` float32 in [-1, 1] at 16 kHz, T at least 433."""
    return log_mel(wave, MEL)
