"""Resynthesis done the straightforward way: what ``benchmarks/resynthesis.py`` compares with, at the published size."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, conv2d, l1_loss, leaky_relu, pad

from models.hifigan import Discriminators
from models.hifigan.losses import mel_loss
from models.resynthesis import UnitGenerator
from respeak.systems.resynthesis.bundle import ResynthesisBundle
from speech.audio.waveforms import decode_audio
from speech.pitch import extract_f0, normalise_f0
from speech.storage.shards import read_shard, shard_name

SEGMENT = 8960
Output = tuple[Tensor, list[Tensor]]


class Straightforward:
    """The step as the method's description reads: a forward of each discriminator wherever its output is named."""

    def __init__(self, generator: UnitGenerator, discriminators: Discriminators) -> None:
        self.generator, self.discriminators = generator, discriminators
        self.optim_g = torch.optim.AdamW(generator.parameters(), 2e-4, (0.8, 0.99))
        self.optim_d = torch.optim.AdamW(discriminators.parameters(), 2e-4, (0.8, 0.99))

    def step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Losses by name."""
        real = batch["audio"]
        fake = self.generator(batch["units"], batch["f0"], batch["speaker"])
        self.optim_d.zero_grad()
        pairs = [(self.judge(i, real), self.judge(i, fake.detach())) for i in range(self.count)]
        loss_d = sum((1 - r[0]).square().mean() + f[0].square().mean() for r, f in pairs)
        loss_d.backward()
        self.optim_d.step()
        self.optim_g.zero_grad()
        loss_mel = mel_loss(real, fake)
        pairs = [(self.judge(i, real), self.judge(i, fake)) for i in range(self.count)]
        feature = sum(l1_loss(a, b) for r, f in pairs for a, b in zip(r[1], f[1], strict=True))
        adversarial = sum((1 - f[0]).square().mean() for _, f in pairs)
        loss_g = adversarial + 2 * feature + 45 * loss_mel
        loss_g.backward()
        self.optim_g.step()
        losses = {"discriminator": loss_d, "mel": loss_mel, "generator": loss_g}
        return {name: float(loss.detach()) for name, loss in losses.items()}

    @property
    def count(self) -> int:
        """Discriminators of both kinds."""
        return len(self.discriminators.mpd) + len(self.discriminators.msd)

    def judge(self, index: int, wave: Tensor) -> Output:
        """One discriminator on one wave ``(B, 1, T)``."""
        periods = len(self.discriminators.mpd)
        if index < periods:
            return self.by_period(self.discriminators.mpd[index], wave)
        for _ in range(index - periods):
            wave = avg_pool1d(wave, 4, 2, padding=2)
        return self.discriminators.msd[index - periods](wave)

    def by_period(self, discriminator: Any, wave: Tensor) -> Output:
        """Two-dimensional convolutions over ``(B, 1, T / period, period)``, as published."""
        period = discriminator.period
        wave = pad(wave, (0, -wave.shape[2] % period), mode="reflect")
        x, maps = wave.view(len(wave), 1, -1, period), []
        for conv in discriminator.convs:
            x = leaky_relu(_conv2d(x, conv), 0.1)
            maps.append(x)
        x = _conv2d(x, discriminator.conv_post)
        return x.flatten(1), [*maps, x]


def _conv2d(x: Tensor, conv: Any) -> Tensor:
    return conv2d(x, conv.weight.unsqueeze(3), conv.bias, (conv.stride[0], 1), (conv.padding[0], 0))


def straightforward_items(root: Path, count: int) -> None:
    """Items as the published data set makes them: whole recordings decoded, F0 tracked on each crop."""
    rng = np.random.default_rng(1)
    coded = dict(line.split("|") for line in (root / "units.txt").read_text().splitlines())
    stats = json.loads((root / "f0_stats.json").read_text())
    for row in list(read_shard(root / "audio" / shard_name(0)))[:count]:
        wave = decode_audio(row["audio"])
        wave = 0.95 * wave / np.abs(wave).max()
        units = np.array([int(unit) for unit in coded[row["id"]].split()])
        start = int(rng.integers(len(units) - SEGMENT // 320 + 1))
        crop = wave[start * 320 : start * 320 + SEGMENT]
        f0 = extract_f0(crop, "yaapt")
        item = (crop, units[start : start + SEGMENT // 320], normalise_f0(f0, stats[row["speaker"]]))
        assert [len(part) for part in item] == [SEGMENT, SEGMENT // 320, SEGMENT // 80]


def straightforward_synthesis(root: Path, system: Path) -> list[np.ndarray]:
    """One recording after the other: F0 by YAAPT, units from text, the whole through the generator."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    bundle = ResynthesisBundle.load(system)
    model = bundle.generator()
    model.vocoder.remove_weight_norm()
    coded = dict(line.split("|") for line in (root / "data/units.txt").read_text().splitlines())
    names, made = list(bundle.speakers), []
    for row in read_shard(root / "data/audio" / shard_name(0)):
        f0 = normalise_f0(extract_f0(decode_audio(row["audio"]), "yaapt"), bundle.speakers[row["speaker"]])
        units = torch.tensor([[int(unit) for unit in coded[row["id"]].split()]])
        with torch.no_grad():
            speaker = torch.tensor([names.index(row["speaker"])])
            made.append(model(units, torch.from_numpy(f0)[None, None], speaker)[0, 0].numpy())
    return made
