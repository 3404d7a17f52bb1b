"""System bundles: the one folder that synthesis, the command line, the hub and MLflow's model read.

    systems/<name>/config.yaml   what it is: format, system, rates, encoder, audio, speakers, provenance, licence
                   encoder/      the content encoder, held to ``config.encoder.hash``
                   ...           what the system declares (``respeak.systems.base.System.bundle_files``)

A bundle is built beside its place and renamed, so a reader never sees half of one. Everything is YAML, JSON or
safetensors: loading one runs no code of its author.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from respeak.encoders.encoder_files import read_config as read_encoder_config
from respeak.folders import CONFIG, read_yaml
from speech.errors import UserError

FORMAT = 1
ENCODER = "encoder"
CENTROIDS = "centroids.safetensors"

EVERY_SYSTEM: dict[str, tuple[type, ...]] = {"sample_rate": (int,), "speakers": (list,)}
# Of a system that hears recordings through a content encoder.
HEARING: dict[str, tuple[type, ...]] = {
    "unit_hop": (int,),
    "encoder.kind": (str,),
    "encoder.dim": (int,),
    "encoder.hash": (str,),
    "audio.trim_db": (int, float, type(None)),
    "audio.normalise_peak": (int, float),
    "audio.pad_multiple": (int,),
}


def read_config(directory: Path | str, system: str | None = None) -> dict[str, Any]:
    """Read a bundle's ``config.yaml`` and check it against what its system declares; the weights are not looked at.

    Raises:
        UserError: it is missing, of another format, or of another system than ``system`` (None: any that is known).
    """
    from respeak.systems.registry import bundled_names, find

    path = Path(directory) / CONFIG
    if not path.is_file():
        raise UserError(f"{directory}: no system bundle there ({CONFIG} is missing); train one first")
    config = read_yaml(path)
    if "format" not in config:
        raise UserError(f"{path}: not a system bundle's configuration: key 'format' is missing")
    if config["format"] != FORMAT:
        raise UserError(f"{path}: bundle format {config['format']}, this version reads {FORMAT}; make the bundle again")
    found, known = config.get("system"), [system] if system else bundled_names()
    if found not in known:
        expected = " or ".join(f"'{name}'" for name in known)
        raise UserError(f"{path}: holds a system '{found}', expected {expected}; give another bundle")
    for key, kinds in {**EVERY_SYSTEM, **find(str(found)).bundle_keys}.items():
        _check_key(path, config, key, kinds)
    return config


def require_files(path: Path, files: Sequence[str]) -> None:
    """Refuse a bundle that lacks one of ``files``.

    Raises:
        UserError: names the first that is missing.
    """
    for name in files:
        if not (path / name).is_file():
            raise UserError(f"{path}: not a complete system bundle: {name} is missing; make the bundle again")


def check_encoder(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse a bundle whose encoder is not the one that it was trained with.

    Raises:
        UserError: names both.
    """
    found, expected = read_encoder_config(path / ENCODER)["hash"], config["encoder"]["hash"]
    if found != expected:
        raise UserError(
            f"{path / ENCODER}: is encoder {found[:12]}, but the system was trained with {expected[:12]}; "
            "restore the encoder or make the bundle again"
        )


def write_config(made: Path, system: str, config: Mapping[str, Any], encoder_dir: Path | str | None) -> None:
    """Write ``config.yaml`` of a bundle of ``system`` that is being made, and copy its encoder."""
    whole = {**config, "format": FORMAT, "system": system}
    if encoder_dir is not None:
        shutil.copytree(encoder_dir, made / ENCODER)
        whole["encoder"] = read_encoder_config(made / ENCODER)
    (made / CONFIG).write_text(yaml.safe_dump(whole, sort_keys=True, allow_unicode=True))


def common_facts(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts of a bundle that every system states alike; see ``System.facts``."""
    from respeak.systems.registry import find

    facts = {
        "system": f"{config['system']} (format {config['format']}, scale {config.get('scale', 'unknown')})",
        "takes": ", ".join(sorted(find(config["system"]).takes_of(config))) or "no controls",
        "audio": f"{config['sample_rate']} Hz mono",
    }
    if encoder := config.get("encoder"):
        layer = f", layer {encoder['layer']}" if "layer" in encoder else ""
        facts["encoder"] = f"{encoder['kind']}{layer}, {encoder['dim']} dimensions, sha256 {encoder['hash'][:12]}"
    return facts


def origin(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts of where a bundle comes from and what may be done with it."""
    provenance = {f"provenance.{key}": str(value) for key, value in (config.get("provenance") or {}).items()}
    return {"licence": config.get("licence", "not stated"), **provenance}


def _check_key(path: Path, config: Mapping[str, Any], key: str, kinds: tuple[type, ...]) -> None:
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise UserError(f"{path}: key '{key}' is missing; make the bundle again")
        value = value[part]
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise UserError(f"{path}: {key}: expected {kinds[0].__name__}, found {value!r}")
