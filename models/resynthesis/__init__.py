"""Speech resynthesis from discrete units (Polyak et al. 2021): F0 quantiser and unit vocoder."""

from models.resynthesis.f0_vq import F0VQVAE
from models.resynthesis.generator import UnitGenerator

__all__ = ["F0VQVAE", "UnitGenerator"]
