"""Public checkpoints as our modules: key names of the published code mapped onto ours.

Understands both weight-norm spellings (``weight_g``/``weight_v`` and ``parametrizations``), the ``module.`` prefix
of data-parallel training and the outer ``{"generator": ...}``, ``{"mpd": ...}`` or ``{"msd": ...}`` of training
checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Tensor]

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


def load(kind: str, checkpoint: Mapping[str, Any]) -> Any:
    """Build a module with the weights of a public checkpoint, sizes read off the weights.

    Args:
        kind: ``resynthesis/code_generator`` (a :class:`~models.resynthesis.WaveVQVAE` where the weights are one's),
            ``resynthesis/f0_vqvae``, ``resynthesis/wave_vqvae``, ``resynthesis/mpd`` or ``resynthesis/msd``;
            ``softvc/hubert-soft``, ``hubert-discrete``, ``acoustic-soft``, ``acoustic-discrete``, ``hifigan`` or
            ``hifigan-discriminator``.
        checkpoint: as ``torch.load(..., weights_only=True)`` gives it.

    Raises:
        KeyError: unknown ``kind``.
        RuntimeError: the weights do not fit the architecture (torch's message names the keys).
    """
    if kind.startswith("softvc/"):
        from models.softvc.public import LOADERS

        return LOADERS[kind](strip(checkpoint, kind.rpartition("-")[2]))
    return _LOADERS[kind](strip(checkpoint, kind.rpartition("/")[2]))


_WRAPPERS = ("generator", "hubert", "acoustic-model")


def strip(checkpoint: Mapping[str, Any], part: str = "generator") -> State:
    """Return the bare state dict inside a training checkpoint (of ``part``), weight norm spelt torch's new way.

    It may lie beside an optimiser, under the part's name or another wrapper's, and inside that in ``model``.
    """
    names = (part, *_WRAPPERS)
    state = next((checkpoint[name] for name in names if isinstance(checkpoint.get(name), Mapping)), checkpoint)
    state = state["model"] if isinstance(state.get("model"), Mapping) else state
    state = {key.removeprefix("module."): value for key, value in state.items()}
    return {_new_norm_key(key, state): value for key, value in state.items()}


def _new_norm_key(key: str, state: Mapping[str, Tensor]) -> str:
    stem, _, name = key.rpartition(".")
    if f"{stem}.weight_orig" in state:
        names = {"weight_orig": "original", "weight_u": "0.u", "weight_v": "0.v"}
    else:
        names = {"weight_g": "original0", "weight_v": "original1"}
    if name in names:
        return f"{stem}.parametrizations.weight.{names[name]}"
    # torch's own spectral norm keeps its vectors under these names.
    return re.sub(r"\.parametrizations\.weight\.0\._([uv])$", r".parametrizations.weight.0.\1", key)


def rename(state: Mapping[str, Tensor], rules: Iterable[tuple[str, str]]) -> State:
    """Apply the first matching rule to each key."""
    rules = list(rules)
    renamed = {}
    for key, value in state.items():
        for pattern, replacement in rules:
            if re.search(pattern, key):
                key = re.sub(pattern, replacement, key)
                break
        renamed[key] = value
    return renamed


def vqvae_state(state: Mapping[str, Tensor]) -> State:
    """Rename a quantiser's state as ours; the running means that public files lack start at the codes themselves."""
    ups = sum(bool(re.fullmatch(r"decoder\.level_blocks\.0\.model\.\d+\.1\.bias", key)) for key in state)
    renamed = rename(state, (*_VQ_RULES, (r"^decoder\.out\.", f"decoder.{ups + 1}.")))
    codes = renamed["codebook.codes"]
    renamed.setdefault("codebook.running_sum", codes.clone())
    renamed.setdefault("codebook.running_count", torch.ones(len(codes), dtype=codes.dtype))
    renamed.setdefault("codebook.initialised", torch.tensor(True))
    return renamed


def f0_vqvae_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
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


def _load_f0_vqvae(state: State) -> nn.Module:
    from models.resynthesis import F0VQVAE

    ours = vqvae_state(state)
    return _filled(F0VQVAE(**f0_vqvae_sizes(ours)), ours)


def _load_wave_vqvae(state: State) -> nn.Module:
    from models.resynthesis import WaveVQVAE

    renamed = rename(state, ((r"^code_encoder\.", "encoder."), (r"^code_vq\.", "vq."), *_GENERATOR_RULES))
    ours = vqvae_state(renamed)
    return _filled(WaveVQVAE(**_vqvae_sizes(ours), **_hifigan_sizes(state)), ours)


def _load_code_generator(state: State) -> nn.Module:
    from models.resynthesis import UnitGenerator

    if "code_vq.level_blocks.0.k" in state:
        return _load_wave_vqvae(state)
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
        quantizer = vqvae_state(quantizer)
        sizes["f0_quantizer"] = f0_vqvae_sizes(quantizer)
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


def _load_mpd(state: State) -> nn.Module:
    from models.hifigan import Discriminators

    # Ours convolves each phase in one dimension: (out, in, k, 1) -> (out, in, k).
    ours = {re.sub(r"^discriminators\.", "", k): v.squeeze(3) if v.dim() == 4 else v for k, v in state.items()}
    return _filled(Discriminators(scales=0).mpd, ours)


def _load_msd(state: State) -> nn.Module:
    from models.hifigan import Discriminators

    return _filled(Discriminators(periods=()).msd, {re.sub(r"^discriminators\.", "", k): v for k, v in state.items()})


def _filled(module: nn.Module, state: State) -> nn.Module:
    module.load_state_dict(state, strict=True)
    return module


_LOADERS: dict[str, Callable[[State], nn.Module]] = {
    "resynthesis/code_generator": _load_code_generator,
    "resynthesis/f0_vqvae": _load_f0_vqvae,
    "resynthesis/wave_vqvae": _load_wave_vqvae,
    "resynthesis/mpd": _load_mpd,
    "resynthesis/msd": _load_msd,
}
