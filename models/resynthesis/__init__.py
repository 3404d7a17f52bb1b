"""Speech resynthesis from discrete units (Polyak et al. 2021): quantisers of F0 and of audio, and unit vocoder."""

from models.resynthesis.f0_vq import F0VQVAE
from models.resynthesis.generator import UnitGenerator
from models.resynthesis.wave_vq import WaveVQVAE

__all__ = ["F0VQVAE", "UnitGenerator", "WaveVQVAE"]
