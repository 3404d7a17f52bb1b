"""Content encoders, from waveforms to frames every 20 ms, behind one interface."""

from models.encoders.base import ContentEncoder
from models.encoders.build import build_encoder

__all__ = ["ContentEncoder", "build_encoder"]
