"""Our Soft-VC networks against outputs of the original public code, from the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from models import public
from models.hifigan import losses
from models.hifigan.discriminators import Output
from models.kmeans import nearest
from models.softvc.acoustic_training import mel_distance
from models.softvc.mel import MEL, wave_to_mel
from models.softvc.soft_unit_training import unit_loss
from speech.mel_spectrogram import mel_filterbank
from tests.golden.fill import Case

MARGIN = 1e-4  # of a frame's nearest centre over the next: below it rounding decides


def log_mel(case: Case) -> None:
    wave, odd = case.inputs["wav"][:, 0], case.outputs["logmel_odd_len"]
    case.check("logmel", wave_to_mel(wave))
    # Of the odd length the case tells the number of frames alone; the last of them mirror the end.
    first = odd.shape[-1] * MEL.hop
    made = {n: wave_to_mel(wave[: len(odd), :n]) for n in range(first, min(first + MEL.hop, wave.shape[1]))}
    nearest_length = min(made, key=lambda n: float((made[n] - odd[:, 0]).abs().max()))
    case.check("logmel_odd_len", made[nearest_length])
    filters = torch.from_numpy(mel_filterbank(MEL)).T
    for key, expected in case.constants.items():
        ours = filters if key.endswith(".fb") else torch.hann_window(MEL.n_fft)
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-4)


def hubert_soft(case: Case) -> None:
    model = public.load("softvc/hubert-soft", _wrapped(case, "hubert", "hubert")).eval()
    wave = case.inputs["wav"]
    units = model.units(wave)
    case.check("units", units)
    case.check("units_unaligned_len", model.units(case.inputs["wav_odd"]))
    case.check("logits", model.network.logits(units))
    encoder = model.network.encoder
    with torch.no_grad():
        layers = [int(name.removeprefix("layer")) for name in case.outputs if name.startswith("layer")]
        for layer, frames in zip(layers, encoder.extract(wave[:, 0], None, layers), strict=True):
            case.check(f"layer{layer}", frames)
        conv, _ = encoder.model.feature_extractor(pad(wave[:, 0], (encoder.padding, encoder.padding)), None)
        _check_first(case, "conv_features", conv.transpose(1, 2), dim=1)
        projected = encoder.model.encoder.feature_projection(conv)
        _check_first(case, "projected", projected, dim=2)
        _check_first(case, "pos", encoder.model.encoder.transformer.pos_conv_embed(projected), dim=2)
    # Arranged for extraction, and from a file of the older spelling, it is the same encoder.
    older = _older(case.state("hubert"))
    assert any(key.endswith("weight_g") for key in older)
    with torch.inference_mode():
        case.check("units", public.load("softvc/hubert-soft", older).eval().prepare()(wave[:, 0]))


def hubert_discrete(case: Case) -> None:
    model = public.load("softvc/hubert-discrete", _wrapped(case, "hubert", "hubert")).eval()
    model.centres = case.inputs["centres"]
    model.encoder.prepare()
    with torch.no_grad():
        features = model(case.inputs["wav"][:, 0])[0]
    case.check("layer7", features)
    units = model.units(case.inputs["wav"])
    sure = case.outputs["margin"] > MARGIN
    assert sure.float().mean() > 0.9 and torch.equal(units[sure], case.outputs["units"][sure])
    assert torch.equal(units, nearest(features, model.centres)[0])


def hubert_masked_loss(case: Case) -> None:
    model = _without_dropout(public.load("softvc/hubert-soft", _wrapped(case, "hubert", "hubert")).train())
    network = model.network
    network.encoder.padding = 0  # the case's waveforms come without the padding that `units` adds
    hidden, units = case.inputs["mask"], case.inputs["codes"]
    logits = network(case.inputs["wav"][:, 0], hidden)
    case.check("logits", logits)
    masked, unmasked = (unit_loss(logits, units, hidden, alpha) for alpha in (1.0, 0.0))
    case.check("masked_loss", masked)
    case.check("unmasked_loss", unmasked)
    masked.backward()
    case.check("grad_norm_mask_embed", network.replacement.grad.norm(), rtol=1e-3)
    case.check("grad_norm_label", network.labels.grad.norm(), rtol=1e-3)
    first = network.encoder.model.feature_extractor.conv_layers[0].conv
    case.check("grad_norm_conv0", first.weight.grad.norm(), rtol=1e-3)


def acoustic(case: Case) -> None:
    kind = "discrete" if case.spec["config"]["discrete"] else "soft"
    model = public.load(f"softvc/acoustic-{kind}", _wrapped(case, "acoustic", "acoustic-model")).eval()
    model.mask_padding = False  # as published
    units, mels = case.inputs["units"], case.inputs["mels"]
    with torch.no_grad():
        _check_first(case, "encoder_out", model.encode(units), dim=2)
        case.check("mels_hat", model(units, mels[:, :-1]))
    case.check("generated", model.generate(units))
    case.check("generated", model.prepare().generate(units))
    # A channel whose only frame above zero lies at the edge of it is scaled by the norm's 300: rounding decides whether
    # its gradient counts, so the case may agree with either precision.
    exact = [_acoustic_gradients(case, model, dtype) for dtype in (torch.float32, torch.float64)]
    for name in exact[0]:
        case.check(
            name, min((e[name] for e in exact), key=lambda got: float((got - case.outputs[name]).abs())), rtol=1e-3
        )


def _acoustic_gradients(case: Case, model: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    model = _without_dropout(model.to(dtype).train())
    model.zero_grad()
    units, mels = case.inputs["units"], case.inputs["mels"].to(dtype)
    units = units.to(dtype) if units.is_floating_point() else units
    loss = mel_distance(model(units, mels[:, :-1]), mels[:, 1:], case.inputs["mels_lengths"], mask_padding=False)
    loss.backward()
    layers = {"lstm1": model.decoder.lstm1.weight_ih_l0, "enc_conv0": model.encoder.convs[0].weight}
    layers["proj"] = model.decoder.proj.weight
    return {"loss": loss.detach()} | {f"grad_norm_{name}": weight.grad.norm() for name, weight in layers.items()}


def hifigan_generator(case: Case) -> None:
    state = case.state("hifigan")
    for checkpoint in (_wrapped(case, "hifigan", None), {"generator": {"model": public.strip(state), "step": 1}}):
        model = public.load("softvc/hifigan", checkpoint).eval()
        with torch.no_grad():
            case.check("wav", model(case.inputs["mel"]))
    model.remove_weight_norm()
    folded = {key: value for key, value in model.state_dict().items() if value.dim()}
    with torch.no_grad():
        case.check("wav", model(case.inputs["mel"]))
        case.check("wav", public.load("softvc/hifigan", folded).eval()(case.inputs["mel"]))
        case.check("wav", model.prepare()(case.inputs["mel"]))


def end_to_end_soft(case: Case) -> None:
    hubert = public.load("softvc/hubert-soft", case.state("hubert")).eval()
    acoustic_model = public.load("softvc/acoustic-soft", case.state("acoustic")).eval()
    vocoder = public.load("softvc/hifigan", case.state("hifigan")).eval()
    units = hubert.units(case.inputs["wav"])
    case.check("units", units)
    mel = acoustic_model.generate(units).transpose(1, 2)
    case.check("mel", mel)
    with torch.no_grad():
        case.check("wav", vocoder(mel))
        case.check("wav", vocoder.prepare()(mel))


def hifigan_discriminator(case: Case) -> None:
    model = public.load("softvc/hifigan-discriminator", case.state("discriminator")).train()
    with torch.no_grad():
        real, fake = model(case.inputs["y"]), model(case.inputs["y_hat"])
    periods = [discriminator.period for discriminator in model.mpd]
    for side, outputs in (("real", real), ("fake", fake)):
        rows = []
        for index, (score, maps) in enumerate(outputs):
            phases = periods[index] if index < len(periods) else 1
            published = score.view(len(score), phases, -1).transpose(1, 2).flatten(1)
            name = f"score_{side}_{index}"
            # Scores behind the spectral norm are a few thousandths: told apart by their own spread.
            case.check(name, published, atol=1e-3 * float(case.outputs[name].std()))
            rows += [_statistics(features, phases, len(score)) for features in maps]
        case.check(f"fmap_{side}_stats", torch.stack(rows))
    _check_losses(case, real, fake)


def hifigan_train_step(case: Case) -> None:
    config, wave = case.spec["config"], case.inputs["y"]
    generator = public.load("softvc/hifigan", case.state("hifigan")).train()
    discriminators = public.load("softvc/hifigan-discriminator", case.state("discriminator")).train()
    step = {"lr": config["lr"], "betas": tuple(config["betas"]), "weight_decay": config["weight_decay"]}
    optimiser = torch.optim.AdamW(discriminators.parameters(), **step)
    fake = generator(wave_to_mel(wave[:, 0]))
    case.check("wav_hat", fake)
    loss = losses.discriminator_loss(discriminators(wave), discriminators(fake.detach()))
    case.check("loss_discriminator", loss)
    loss.backward()
    case.check("grad_norm_discriminator", _norm(discriminators))
    optimiser.step()
    mel = losses.mel_loss(wave, fake, MEL)
    real_outputs, fake_outputs = discriminators(wave), discriminators(fake)
    feature, adversarial = losses.feature_loss(real_outputs, fake_outputs), losses.adversarial_loss(fake_outputs)
    case.check("loss_mel", mel)
    case.check("loss_adversarial", adversarial)
    case.check("loss_features", 2 * feature)
    total = 45 * mel + 2 * feature + adversarial
    case.check("loss_generator", total)
    total.backward()
    case.check("grad_norm_conv_pre_v", generator.conv_pre.parametrizations["weight"].original1.grad.norm())
    case.check("grad_norm_conv_post_g", generator.conv_post.parametrizations["weight"].original0.grad.norm())
    case.check("grad_norm_generator", _norm(generator))


ADAPTERS: dict[str, Callable[[Case], None]] = {
    "log_mel": log_mel,
    "hubert_soft": hubert_soft,
    "hubert_discrete": hubert_discrete,
    "hubert_masked_loss": hubert_masked_loss,
    "acoustic_soft": acoustic,
    "acoustic_discrete": acoustic,
    "hifigan_generator": hifigan_generator,
    "hifigan_discriminator": hifigan_discriminator,
    "hifigan_train_step": hifigan_train_step,
    "end_to_end_soft": end_to_end_soft,
}


def _wrapped(case: Case, module: str, wrapper: str | None) -> dict[str, Any]:
    """The module's weights as the published files hold them: data-parallel prefixes, perhaps beside an optimiser."""
    state = {f"module.{key}": value for key, value in case.state(module).items()}
    return state if wrapper is None else {wrapper: state, "step": 1, "loss": 0.0}


def _older(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
    older = {}
    for key, value in state.items():
        for new, old in names.items():
            key = key.replace(new, old)
        older[key] = value
    return older


def _without_dropout(model: nn.Module) -> Any:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return model


def _check_first(case: Case, name: str, got: Tensor, dim: int) -> None:
    """Against the output that holds the first so many of ``dim``, as its name says: ``pos_first64``."""
    (key,) = (output for output in case.outputs if output.startswith(f"{name}_first"))
    case.check(key, got.narrow(dim, 0, int(key.removeprefix(f"{name}_first"))))


def _statistics(features: Tensor, phases: int, batch: int) -> Tensor:
    if phases > 1:  # (B * phases, C, T) as the two-dimensional (B, C, T, phases) of the original
        features = features.view(batch, phases, *features.shape[1:]).permute(0, 2, 3, 1)
    flat = features.flatten()
    return torch.cat([torch.stack([flat.mean(), flat.std(correction=0), flat.abs().mean()]), flat[:16]])


def _check_losses(case: Case, real: list[Output], fake: list[Output]) -> None:
    case.check("feature_loss", 2 * losses.feature_loss(real, fake))
    case.check("disc_loss", losses.discriminator_loss(real, fake))
    case.check("gen_loss", losses.adversarial_loss(fake))


def _norm(module: nn.Module) -> Tensor:
    return torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm()
