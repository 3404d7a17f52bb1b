"""The judges of quality that parameters name: against the recording that was repeated, or by ear alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from respeak.judges.judge_weights import files_digest, judge_weights
from respeak.judges.utmos_judge import UTMOS_URL, UtmosJudge
from speech.judges.cache import Answer, Heard, Judge
from speech.judges.dnsmos import DNSMOS_URL, Dnsmos
from speech.judges.settings import Evaluate
from speech.judges.torchaudio_bundles import SQUIM_URL, Squim

_ADDRESSES = {"squim": SQUIM_URL, "dnsmos": DNSMOS_URL, "utmos": UTMOS_URL}
Device = Callable[[], str]
# The distribution that decides what each judge answers.
PACKAGES = {
    "stoi": "pystoi",
    "pesq": "pesq",
    "mcd": "pyworld",
    "squim": "torchaudio",
    "dnsmos": "onnxruntime",
    "utmos": "torchaudio",
}


def quality_judges(evaluate: Evaluate, device: Device = lambda: "cpu") -> list[Judge]:
    """Return judges in the order of the parameters; ``settings["against"]`` states whether one hears a reference too.

    Answers are columns of :data:`speech.metrics.summary.UTTERANCES`; None where a measure is not defined.

    Raises:
        UserError: a judge's weights are not there; names the file and its address.
    """
    return [_judge(name, evaluate, device) for name in dict.fromkeys(evaluate.quality)]


def _judge(name: str, evaluate: Evaluate, device: Device) -> Judge:
    if name in ("stoi", "pesq", "mcd"):
        return Judge({"judge": name, "against": True}, lambda: _compared(name), (PACKAGES[name],))
    weights = judge_weights(_ADDRESSES[name], evaluate.weights.get(name, ""), f"evaluate.weights.{name}")
    settings = {"judge": name, "against": False, "weights": files_digest(weights)}

    def load() -> Callable[[Heard], Answer]:
        if name == "dnsmos":
            judge: Squim | Dnsmos | UtmosJudge = Dnsmos(weights)
        else:
            judge = (Squim if name == "squim" else UtmosJudge)(weights, device())
        return lambda heard: dict(judge(heard.wave))

    return Judge(settings, load, (PACKAGES[name],) if name == "dnsmos" else (PACKAGES[name], "torch"))


def _compared(name: str) -> Callable[[Heard, Heard], Answer]:
    from speech.metrics import quality

    measures: dict[str, Any] = {"stoi": quality.stoi, "pesq": quality.pesq, "mcd": quality.mel_cepstral_distortion}
    measure = measures[name]
    return lambda heard, reference: {name: measure(reference.wave, heard.wave)}
