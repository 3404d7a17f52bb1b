"""Public weights of Soft-VC as our modules: sizes are read off the weights, names mapped.

State dicts arrive here bare, without wrappers and prefixes, weight norm in torch's new spelling (``models.public``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.encoders.hubert import Hubert
from models.encoders.keys import torchaudio_state
from models.encoders.soft import DiscreteHubert, SoftHubert
from models.hifigan import Discriminators
from models.softvc.acoustic import AcousticModel
from models.softvc.vocoder import Vocoder

State = dict[str, Tensor]
HEAD_DIM = 64  # of an attention head, in every published HuBERT
DISCRETE_LAYER = 7  # whose frames the published centres are of
_HEAD = {
    "proj.weight": "projection.weight",
    "proj.bias": "projection.bias",
    "label_embedding.weight": "labels",
    "masked_spec_embed": "replacement",
}
_MAGNITUDE, _DIRECTION = (f"parametrizations.weight.original{number}" for number in range(2))


def hubert_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read arguments of ``Hubert`` but ``layer`` off weights under torchaudio's names."""
    layers = sum(
        bool(re.fullmatch(r"encoder\.transformer\.layers\.\d+\.attention\.q_proj\.bias", key)) for key in state
    )
    position = state[f"encoder.transformer.pos_conv_embed.conv.{_DIRECTION}"]
    dim = position.shape[0]
    return {
        "layers": layers,
        "heads": dim // HEAD_DIM,
        "dim": dim,
        "feed_forward": len(state["encoder.transformer.layers.0.feed_forward.intermediate_dense.bias"]),
        "conv_channels": len(state["feature_extractor.conv_layers.0.conv.weight"]),
        "position_kernel": position.shape[2],
        "position_groups": dim // position.shape[1],
    }


def load_hubert_soft(state: State) -> SoftHubert:
    """Load the encoder of soft units."""
    head = {ours: state[theirs] for theirs, ours in _HEAD.items()}
    body = torchaudio_state({key: value for key, value in state.items() if key not in _HEAD})
    k, label_dim = head["labels"].shape
    model = SoftHubert(k, label_dim, hubert=hubert_sizes(body))
    model.network.load_state_dict(head | {f"encoder.model.{key}": value for key, value in body.items()})
    return model


def load_hubert_discrete(state: State) -> DiscreteHubert:
    """Load the encoder of discrete units, without centres; the head of its pretraining is left out."""
    body = torchaudio_state({key: value for key, value in state.items() if key not in _HEAD})
    encoder = Hubert(DISCRETE_LAYER, **hubert_sizes(body))
    encoder.model.load_state_dict(body)
    return DiscreteHubert(encoder)


def load_acoustic(state: State) -> AcousticModel:
    """Load the acoustic model, of soft or of discrete units."""
    table = state.get("encoder.embedding.weight")
    width, unit_dim = state["encoder.prenet.net.0.weight"].shape
    model = AcousticModel(
        unit_dim,
        num_units=0 if table is None else len(table) - 1,
        mels=len(state["decoder.proj.weight"]),
        width=width,
        channels=len(state["encoder.convs.0.bias"]),
        hidden=state["decoder.proj.weight"].shape[1],
        upsample="encoder.convs.3.weight" in state,
    )
    model.load_state_dict(state)
    return model


def load_vocoder(state: State) -> Vocoder:
    """Load the vocoder, its weight norm kept, or made anew where it was folded into the weights."""
    ours: State = {}
    for key, value in state.items():
        stem, _, name = key.rpartition(".")
        if name == "weight":
            ours[f"{stem}.parametrizations.weight.original0"] = torch.linalg.vector_norm(
                value, dim=(1, 2), keepdim=True
            )
            ours[f"{stem}.{_DIRECTION}"] = value
        else:
            ours[key] = value
    stages = sum(bool(re.fullmatch(r"ups\.\d+\.bias", key)) for key in ours)
    blocks = sum(bool(re.fullmatch(r"resblocks\.\d+\.convs1\.0\.bias", key)) for key in ours) // stages
    kernels = [ours[f"ups.{i}.{_DIRECTION}"].shape[2] for i in range(stages)]
    generator = Vocoder(
        initial_channels=len(ours["conv_pre.bias"]),
        upsample_rates=[kernel // 2 for kernel in kernels],
        upsample_kernels=kernels,
        resblock_kernels=[ours[f"resblocks.{j}.convs1.0.{_DIRECTION}"].shape[2] for j in range(blocks)],
        resblock_dilations=[[1, 3, 5]] * blocks,
    )
    generator.load_state_dict(ours)
    return generator


def load_discriminators(state: State) -> Discriminators:
    """Load periods and scales of the vocoder's training, which the public repository never published."""
    discriminators = Discriminators()
    # Ours convolves each phase in one dimension: (out, in, k, 1) -> (out, in, k).
    ours = {key.replace(".discriminators.", "."): v.squeeze(3) if v.dim() == 4 else v for key, v in state.items()}
    discriminators.load_state_dict(ours)
    return discriminators


LOADERS: dict[str, Callable[[State], nn.Module]] = {
    "softvc/hubert-soft": load_hubert_soft,
    "softvc/hubert-discrete": load_hubert_discrete,
    "softvc/acoustic-soft": load_acoustic,
    "softvc/acoustic-discrete": load_acoustic,
    "softvc/hifigan": load_vocoder,
    "softvc/hifigan-discriminator": load_discriminators,
}
