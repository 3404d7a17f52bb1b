"""Names of HuBERT and wav2vec 2.0 weights in public files, mapped onto torchaudio's.

Understood: torchaudio's own, Hugging Face's (``hubert.encoder.layers.0.attention.q_proj.weight``), Soft-VC's
(``encoder.layers.0.self_attn.in_proj_weight``), each with the prefixes of wrappers (``module.``, ``model.``,
``hubert.``, ``wav2vec2.``) and with weight norm in torch's old or new spelling. Training heads keep names that nothing
asks for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_PREFIXES = ("module.", "model.", "hubert.", "wav2vec2.")
_LAYER = r"^encoder\.layers\.(\d+)\."
_RULES = (
    (r"^feature_extractor\.conv(\d+)\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"^feature_extractor\.norm0\.", "feature_extractor.conv_layers.0.layer_norm."),
    (r"^feature_projection\.norm\.", "encoder.feature_projection.layer_norm."),
    (r"^feature_projection\.", "encoder.feature_projection."),
    (r"^positional_embedding\.", "encoder.transformer.pos_conv_embed."),
    (r"^encoder\.pos_conv_embed\.", "encoder.transformer.pos_conv_embed."),
    (r"^(encoder\.layer_norm|norm)\.", "encoder.transformer.layer_norm."),
    (_LAYER + r"self_attn\.", r"encoder.transformer.layers.\1.attention."),
    (_LAYER + r"linear1\.", r"encoder.transformer.layers.\1.feed_forward.intermediate_dense."),
    (_LAYER + r"linear2\.", r"encoder.transformer.layers.\1.feed_forward.output_dense."),
    (_LAYER + r"norm1\.", r"encoder.transformer.layers.\1.layer_norm."),
    (_LAYER + r"norm2\.", r"encoder.transformer.layers.\1.final_layer_norm."),
    (_LAYER, r"encoder.transformer.layers.\1."),
)


def torchaudio_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a public state dict as torchaudio does, without a wrapper's prefix; what is unknown keeps its name."""
    renamed = {_rename(name): value for name, value in state.items()}
    split: dict[str, Tensor] = {}
    for name, value in renamed.items():
        stem, _, kind = name.rpartition(".in_proj_")
        if stem:
            for part, piece in zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=True):
                split[f"{stem}.{part}.{kind}"] = piece.clone()
        else:
            split[name] = value
    return split


def _rename(name: str) -> str:
    while prefix := next((p for p in _PREFIXES if name.startswith(p)), None):
        name = name.removeprefix(prefix)
    for pattern, replacement in _RULES:
        if re.match(pattern, name):
            name = re.sub(pattern, replacement, name)
            break
    name = re.sub(r"\.weight_g$", ".parametrizations.weight.original0", name)
    return re.sub(r"\.weight_v$", ".parametrizations.weight.original1", name)


def huggingface_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read keyword arguments of ``Hubert`` off a Hugging Face ``config.json``.

    Raises:
        ValueError: the network differs in a way that ``Hubert`` does not know.
        KeyError: a size is missing.
    """
    from models.encoders.hubert import CONVOLUTIONS

    strides = tuple(zip(config["conv_kernel"], config["conv_stride"], strict=True))
    if strides != CONVOLUTIONS or len(set(config["conv_dim"])) != 1:
        raise ValueError("its convolutions are not the published ones (20 ms per frame)")
    if any(config.get(key, "gelu") != "gelu" for key in ("hidden_act", "feat_extract_activation")):
        raise ValueError("its activation is not gelu")
    layer_norm = config["feat_extract_norm"] == "layer"
    return {
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "dim": config["hidden_size"],
        "feed_forward": config["intermediate_size"],
        "conv_channels": config["conv_dim"][0],
        "position_kernel": config["num_conv_pos_embeddings"],
        "position_groups": config["num_conv_pos_embedding_groups"],
        "front_end": "layer_norm" if layer_norm else "group_norm",
        "conv_bias": config["conv_bias"],
        "norm_first": config["do_stable_layer_norm"],
        # The published group-norm models were trained without it, and their first norm makes it all but void.
        "normalise_wave": layer_norm,
    }
