"""Soft-VC (van Niekerk et al. 2022): speech units to log-mels of one voice, and log-mels to a waveform."""

from models.softvc.acoustic import AcousticModel
from models.softvc.mel import MEL
from models.softvc.vocoder import Vocoder

__all__ = ["MEL", "AcousticModel", "Vocoder"]
