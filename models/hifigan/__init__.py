"""HiFi-GAN (Kong et al. 2020): waveform generator, discriminators and losses, shared by several systems."""

from models.hifigan.discriminators import Discriminators, PeriodDiscriminator, ScaleDiscriminator
from models.hifigan.generator import Generator

__all__ = ["Discriminators", "Generator", "PeriodDiscriminator", "ScaleDiscriminator"]
