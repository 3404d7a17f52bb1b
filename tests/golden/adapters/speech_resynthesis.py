"""Our resynthesis networks against outputs of the original public code, from the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from models import public
from models.hifigan import losses
from models.hifigan.discriminators import Output
from speech.mel_spectrogram import MelSettings, log_mel
from tests.golden.adapters import speech_resynthesis_data
from tests.golden.fill import Case


def mel_spectrogram(case: Case) -> None:
    case.check("mel", log_mel(case.inputs["y"]))
    case.check("mel_fmax8000", log_mel(case.inputs["y"], MelSettings(f_max=8000.0)))


def f0_vqvae(case: Case) -> None:
    model = public.load("resynthesis/f0_vqvae", case.state("quantizer")).eval()
    with torch.no_grad():
        f0_hat, quantised = model(case.inputs["f0"])
        case.check("encoder_out", model.encoder(case.inputs["f0"]))
        case.check("quantised", quantised.vectors)
        case.check("decode_from_codes", model.decode(case.outputs["codes"]))
    assert torch.equal(quantised.codes, case.outputs["codes"])
    assert torch.equal(model.encode(case.inputs["f0"]), case.outputs["vq_encode"])
    case.check("commit_loss", quantised.commit_loss)
    case.check("f0_hat", f0_hat)


def f0_vqvae_train_step(case: Case) -> None:
    model = public.load("resynthesis/f0_vqvae", case.state("quantizer")).train()
    f0_hat, quantised = model(case.inputs["f0"])
    recon = torch.nn.functional.mse_loss(f0_hat, case.inputs["f0"])
    loss = recon + 0.02 * quantised.commit_loss
    loss.backward()
    case.check("f0_hat", f0_hat)
    case.check("commit_loss", quantised.commit_loss)
    case.check("recon_loss", recon)
    case.check("loss", loss)
    case.check("entropy", quantised.entropy)
    case.check("fit", quantised.commit_loss * quantised.vectors.shape[1])
    case.check("k_elem", model.codebook.running_count)
    used = case.outputs["usage_mask"].bool()
    assert torch.equal(model.codebook.running_count >= 1.0, used)
    assert int(used.sum()) == int(case.outputs["usage"])
    assert len(quantised.codes.unique()) == int(case.outputs["used_curr"])
    case.check("prenorm", model.encoder(case.inputs["f0"]).std(correction=0))
    case.check("k_after_used_rows", model.codebook.codes * used.unsqueeze(1))
    case.check("grad_norm_enc_first", _first_norm(model.encoder), rtol=1e-3)
    case.check("grad_norm_dec_out", model.decoder[-1].weight.grad.norm(), rtol=1e-3)


def code_generator(case: Case) -> None:
    model = public.load("resynthesis/code_generator", case.state("generator")).eval()
    with torch.no_grad():
        assert torch.equal(model.quantizer.encode(case.inputs["f0"]), case.outputs["f0_codes"])
        case.check("wav", model(case.inputs["code"], case.inputs["f0"], case.inputs["spkr"].squeeze(1)))
        # The spelling of current torch and the prefix of data-parallel training must give the same model.
        respelt = {f"module.{key}": value for key, value in public.strip(case.state("generator")).items()}
        respelt = public.load("resynthesis/code_generator", {"generator": respelt})
        for ours, theirs in zip(model.state_dict().values(), respelt.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs)


def vqvae256_librilight(case: Case) -> None:
    model = public.load("resynthesis/code_generator", case.state("generator")).eval()
    wave = case.inputs["audio"]
    with torch.no_grad():
        hidden = model.encoder(wave)
        made, quantised = model(wave)
        case.check("wav_from_codes", model.decode(case.outputs["codes"]))
    kept = case.outputs["encoder_out_first8"]
    case.check("encoder_out_first8", hidden[:, : kept.shape[1], : kept.shape[2]])
    assert torch.equal(model.encode(wave), case.outputs["codes"])
    assert torch.equal(quantised.codes, case.outputs["codes"])
    case.check("commit_loss", quantised.commit_loss)
    case.check("wav", made)


def discriminators(case: Case) -> None:
    real, fake = case.inputs["y"], case.inputs["y_hat"]
    periods, scales = _discriminators(case)
    real_p, fake_p = ([p(wave) for p in periods] for wave in (real, fake))
    _check_discriminators(case, "mpd", real_p, fake_p, [p.period for p in periods])
    real_s, fake_s = _pairwise(scales, real, fake)
    _check_discriminators(case, "msd", real_s, fake_s, [1, 1, 1])
    for name in ("convs.1", "convs.6", "conv_post"):
        case.check(f"msd_0_{name}_u_after", scales[0].get_submodule(name).parametrizations["weight"][0].u)
    scales.eval()
    _check_scores(case, "msd_eval_real_0", scales[0](real)[0])
    _check_scores(case, "msd_eval_fake_0", scales[0](fake)[0])


def train_step(case: Case) -> None:
    real = case.inputs["y"]
    generator = public.load("resynthesis/code_generator", case.state("generator")).train()
    periods, scales = _discriminators(case)
    optim_g = _adamw(generator.parameters())
    optim_d = _adamw([*scales.parameters(), *periods.parameters()])
    fake = generator(case.inputs["code"], case.inputs["f0"], case.inputs["spkr"].squeeze(1))
    case.check("y_g_hat", fake)

    loss_f = losses.discriminator_loss([p(real) for p in periods], [p(fake.detach()) for p in periods])
    loss_s = losses.discriminator_loss(*_pairwise(scales, real, fake.detach()))
    (loss_f + loss_s).backward()
    case.check("loss_disc_f", loss_f)
    case.check("loss_disc_s", loss_s)
    case.check("grad_norm_mpd", _norm(periods))
    case.check("grad_norm_msd", _norm(scales))
    optim_d.step()

    mel = 45 * losses.mel_loss(real, fake)
    real_p, fake_p = [p(real) for p in periods], [p(fake) for p in periods]
    real_s, fake_s = _pairwise(scales, real, fake)
    parts = {
        "loss_fm_f": 2 * losses.feature_loss(real_p, fake_p),
        "loss_fm_s": 2 * losses.feature_loss(real_s, fake_s),
        "loss_gen_f": losses.adversarial_loss(fake_p),
        "loss_gen_s": losses.adversarial_loss(fake_s),
        "loss_mel": mel,
    }
    for name, part in parts.items():
        case.check(name, part)
    total = torch.stack(list(parts.values())).sum()
    case.check("loss_gen_all", total)
    total.backward()
    vocoder = generator.vocoder
    case.check("grad_norm_conv_pre_v", vocoder.conv_pre.parametrizations["weight"].original1.grad.norm())
    case.check("grad_norm_dict", generator.unit_embedding.weight.grad.norm())
    case.check("grad_norm_ups0_g", vocoder.ups[0].parametrizations["weight"].original0.grad.norm())
    case.check("grad_norm_conv_post_bias", vocoder.conv_post.bias.grad.norm())
    optim_g.step()
    case.check("conv_post_bias_after", vocoder.conv_post.bias)
    with torch.no_grad():
        after = generator(case.inputs["code"], case.inputs["f0"], case.inputs["spkr"].squeeze(1))
    case.check("y_g_hat_after_step_rms", after.square().mean().sqrt(), rtol=1e-2)


def _discriminators(case: Case) -> tuple[Any, Any]:
    # As a training checkpoint keeps them, both in one file and with the prefix of data-parallel training.
    file = {kind: {f"module.{key}": value for key, value in case.state(kind).items()} for kind in ("mpd", "msd")}
    loaded = [public.load(f"resynthesis/{kind}", file).train() for kind in ("mpd", "msd")]
    return loaded[0], loaded[1]


def _pairwise(scales: torch.nn.ModuleList, real: Tensor, fake: Tensor) -> tuple[list[Output], list[Output]]:
    """Real before fake in each scale: every training forward moves the spectral norm's vectors."""
    outputs: tuple[list[Output], list[Output]] = ([], [])
    for index, scale in enumerate(scales):
        if index:
            real, fake = (torch.nn.functional.avg_pool1d(wave, 4, 2, padding=2) for wave in (real, fake))
        outputs[0].append(scale(real))
        outputs[1].append(scale(fake))
    return outputs


def _check_discriminators(case: Case, kind: str, real: list[Output], fake: list[Output], phases: list[int]) -> None:
    for side, outputs in (("real", real), ("fake", fake)):
        rows = []
        for index, ((score, maps), phase) in enumerate(zip(outputs, phases, strict=True)):
            _check_scores(case, f"{kind}_{side}_{index}", _interleave(score, phase))
            rows += [_statistics(_published_layout(m, phase, len(score))) for m in maps]
        case.check(f"{kind}_fmap_{side}_stats", torch.stack(rows))
    case.check(f"{kind}_feature_loss", 2 * losses.feature_loss(real, fake))
    case.check(f"{kind}_disc_loss", losses.discriminator_loss(real, fake))
    case.check(f"{kind}_gen_loss", losses.adversarial_loss(fake))


def _check_scores(case: Case, name: str, score: Tensor) -> None:
    case.check(name, score, atol=1e-3 * float(case.outputs[name].std()))


def _interleave(score: Tensor, phases: int) -> Tensor:
    return score.view(len(score), phases, -1).transpose(1, 2).flatten(1)


def _published_layout(features: Tensor, phases: int, batch: int) -> Tensor:
    """``(B * phases, C, T)`` as the two-dimensional ``(B, C, T, phases)`` of the original."""
    if phases == 1:
        return features
    return features.view(batch, phases, *features.shape[1:]).permute(0, 2, 3, 1).contiguous()


def _statistics(features: Tensor) -> Tensor:
    flat = features.flatten()
    return torch.cat([torch.stack([flat.mean(), flat.std(correction=0), flat.abs().mean()]), flat[:16]])


def _adamw(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=2e-4, betas=(0.8, 0.99))


def _norm(module: torch.nn.Module) -> Tensor:
    grads = [p.grad.norm() for p in module.parameters() if p.grad is not None]
    return torch.stack(grads).norm()


def _first_norm(encoder: torch.nn.Module) -> Tensor:
    grad = next(encoder.parameters()).grad
    assert grad is not None
    return grad.norm()


ADAPTERS: dict[str, Callable[[Case], None]] = {
    "mel_spectrogram": mel_spectrogram,
    "f0_vqvae": f0_vqvae,
    "f0_vqvae_train_step": f0_vqvae_train_step,
    "code_generator_lj_hubert100": code_generator,
    "code_generator_lj_vqvae256": code_generator,
    "code_generator_vctk_hubert100": code_generator,
    "discriminators": discriminators,
    "train_step": train_step,
    "vqvae256_librilight": vqvae256_librilight,
    **speech_resynthesis_data.ADAPTERS,
}
