"""Public weights of the resynthesis system as our modules: sizes are read off the weights, names mapped.

State dicts arrive here bare, without wrappers and prefixes, weight norm in torch's new spelling (``models.public``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.hifigan import Discriminators
from models.public import State, rename
from models.resynthesis.f0_vq import F0VQVAE
from models.resynthesis.generator import UnitGenerator
from models.resynthesis.wave_vq import WaveVQVAE

_VQ_RULES = (
    (r"^encoder\.level_blocks\.0\.model\.(\d+)\.0\.(\w+)$", r"encoder.\1.conv.\2"),
    (r"^encoder\.level_blocks\.0\.model\.(\d+)\.1\.model\.(\d+)\.model\.1\.", r"encoder.\1.residual.\2.dilated."),
    (r"^encoder\.level_blocks\.0\.model\.(\d+)\.1\.model\.(\d+)\.model\.3\.", r"encoder.\1.residual.\2.pointwise."),
    (r"^encoder\.level_blocks\.0\.model\.(\d+)\.(weight|bias)$", r"encoder.\1.\2"),
    (r"^decoder\.level_blocks\.0\.model\.(\d+)\.1\.(\w+)$", r"decoder.\1.conv.\2"),
    (r"^decoder\.level_blocks\.0\.model\.(\d+)\.0\.model\.(\d+)\.model\.1\.", r"decoder.\1.residual.\2.dilated."),
    (r"^decoder\.level_blocks\.0\.model\.(\d+)\.0\.model\.(\d+)\.model\.3\.", r"decoder.\1.residual.\2.pointwise."),
    (r"^decoder\.level_blocks\.0\.model\.0\.(weight|bias)$", r"decoder.0.\1"),
    (r"^vq\.level_blocks\.0\.k$", r"codebook.codes"),
)
_GENERATOR_RULES = (
    (r"^dict\.", "unit_embedding."),
    (r"^f0_dict\.", "f0_embedding."),
    (r"^spkr\.", "speaker_embedding."),
    (r"^dur_predictor\.", "durations."),
    (r"^(conv_pre|conv_post|ups|resblocks)\.", r"vocoder.\1."),
)


def _vqvae_state(state: Mapping[str, Tensor]) -> State:
    """Rename a quantiser's state as ours; the running means that public files lack start at the codes themselves."""
    ups = sum(bool(re.fullmatch(r"decoder\.level_blocks\.0\.model\.\d+\.1\.bias", key)) for key in state)
    renamed = rename(state, (*_VQ_RULES, (r"^decoder\.out\.", f"decoder.{ups + 1}.")))
    codes = renamed["codebook.codes"]
    renamed.setdefault("codebook.running_sum", codes.clone())
    renamed.setdefault("codebook.running_count", torch.ones(len(codes), dtype=codes.dtype))
    renamed.setdefault("codebook.initialised", torch.tensor(True))
    return renamed


def _f0_vqvae_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read constructor arguments of the F0 quantiser off our state; dilation growth is the published one."""
    sizes = _vqvae_sizes(state)
    strides = sizes.pop("strides")
    return {**sizes, "downs": len(strides), "stride": strides[0]}


def _vqvae_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    codes, dim = state["codebook.codes"].shape
    downs = sum(bool(re.fullmatch(r"encoder\.\d+\.conv\.bias", key)) for key in state)
    depth = sum(bool(re.fullmatch(r"encoder\.0\.residual\.\d+\.dilated\.bias", key)) for key in state)
    # Kernels are twice the stride, or one more when it is odd.
    strides = [state[f"encoder.{level}.conv.weight"].shape[2] // 2 for level in range(downs)]
    width = len(state["encoder.0.conv.bias"])
    return {"codes": codes, "embedding_dim": dim, "width": width, "depth": depth, "strides": strides}


def load_f0_vqvae(state: State) -> nn.Module:
    """Load the F0 quantiser."""
    ours = _vqvae_state(state)
    return _filled(F0VQVAE(**_f0_vqvae_sizes(ours)), ours)


def load_wave_vqvae(state: State) -> nn.Module:
    """Load the generator that quantises audio itself."""
    renamed = rename(state, ((r"^code_encoder\.", "encoder."), (r"^code_vq\.", "vq."), *_GENERATOR_RULES))
    ours = _vqvae_state(renamed)
    return _filled(WaveVQVAE(**_vqvae_sizes(ours), **_hifigan_sizes(state)), ours)


def load_code_generator(state: State) -> nn.Module:
    """Load the generator on units; a :class:`WaveVQVAE` where the weights are one's."""
    if "code_vq.level_blocks.0.k" in state:
        return load_wave_vqvae(state)
    quantizer = {k.removeprefix("quantizer."): v for k, v in state.items() if k.startswith("quantizer.")}
    rest = {k: v for k, v in state.items() if not k.startswith("quantizer.")}
    ours = rename(rest, _GENERATOR_RULES)
    sizes: dict[str, Any] = {"num_units": len(rest["dict.weight"]), "embedding_dim": rest["dict.weight"].shape[1]}
    sizes["durations"] = "dur_predictor.proj.weight" in rest
    if "spkr.bias" in rest:
        sizes |= {"num_speakers": 0, "speaker_dim": rest["spkr.weight"].shape[1]}
    else:
        sizes["num_speakers"] = len(rest["spkr.weight"]) if "spkr.weight" in rest else 0
    if quantizer:
        quantizer = _vqvae_state(quantizer)
        sizes["f0_quantizer"] = _f0_vqvae_sizes(quantizer)
        ours |= {f"quantizer.{key}": value for key, value in quantizer.items()}
    return _filled(UnitGenerator(**sizes, **_hifigan_sizes(rest)), ours)


def _hifigan_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    direction = "parametrizations.weight.original1"
    stages = sum(bool(re.fullmatch(r"ups\.\d+\.bias", key)) for key in state)
    blocks = sum(bool(re.fullmatch(r"resblocks\.\d+\.convs1\.0\.bias", key)) for key in state) // stages
    kernels = [state[f"ups.{i}.{direction}"].shape[2] for i in range(stages)]
    return {
        "initial_channels": len(state["conv_pre.bias"]),
        # Every published configuration has kernels of twice the rate, or one more.
        "upsample_rates": [kernel // 2 for kernel in kernels],
        "upsample_kernels": kernels,
        "resblock_kernels": [state[f"resblocks.{j}.convs1.0.{direction}"].shape[2] for j in range(blocks)],
        "resblock_dilations": [[1, 3, 5]] * blocks,
    }


def load_mpd(state: State) -> nn.Module:
    """Load the discriminator of periods."""
    # Ours convolves each phase in one dimension: (out, in, k, 1) -> (out, in, k).
    ours = {re.sub(r"^discriminators\.", "", k): v.squeeze(3) if v.dim() == 4 else v for k, v in state.items()}
    return _filled(Discriminators(scales=0).mpd, ours)


def load_msd(state: State) -> nn.Module:
    """Load the discriminator of scales."""
    return _filled(Discriminators(periods=()).msd, {re.sub(r"^discriminators\.", "", k): v for k, v in state.items()})


def _filled(module: nn.Module, state: State) -> nn.Module:
    module.load_state_dict(state, strict=True)
    return module


LOADERS: dict[str, Callable[[State], nn.Module]] = {
    "resynthesis/code_generator": load_code_generator,
    "resynthesis/f0_vqvae": load_f0_vqvae,
    "resynthesis/wave_vqvae": load_wave_vqvae,
    "resynthesis/mpd": load_mpd,
    "resynthesis/msd": load_msd,
}
