"""``params.yaml`` to dataclasses, strictly: an unknown, missing or ill-typed key is one line that names it.

Plain dataclasses and a reader of our own, so that a stage starts fast and the training stages run where only torch,
lightning and pyarrow are installed.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from speech.errors import UserError
from stages.params.checks import check

P = TypeVar("P")


def read_file(path: Path | str) -> Any:
    """Return what ``params.yaml`` holds, unchecked.

    Raises:
        UserError: the file is missing, or no YAML.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: not found; run from the project's root")
    try:
        return yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (safe)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def read_own(kind: type[P], raw: Any, path: Path | str = "params.yaml") -> P:
    """Read the sections that ``kind`` declares, as :func:`read_params` does, whatever the others hold."""
    names = {field.name for field in dataclasses.fields(typing.cast(Any, kind))}
    own = {key: value for key, value in raw.items() if key in names} if isinstance(raw, dict) else raw
    return read_params(kind, own, path)


def read_params(kind: type[P], raw: Any, path: Path | str = "params.yaml") -> P:
    """Read the content of ``params.yaml`` as the dataclass ``kind``, a field for each section.

    Raises:
        UserError: a key is unknown, missing, of the wrong type or impossible, or sections contradict each other; names
            the file and the key.
    """
    try:
        found: P = read_section(kind, raw, "")
        check(vars(found))
    except (UserError, ValueError) as error:
        raise UserError(f"{Path(path).name}: {error}") from None
    return found


def read_section(kind: Any, value: Any, where: str) -> Any:
    """Read ``value`` as ``kind``: a dataclass, ``list``, ``dict``, ``Literal``, optional or scalar type.

    Integers pass for floats; nothing else is converted. A ``ValueError`` from a dataclass's own checks becomes a
    ``UserError`` too.

    Raises:
        UserError: naming the key by its path from ``where``, which is empty for the whole.
    """
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(typing.cast(type, kind), value, where)
    reader = _READERS.get(typing.get_origin(kind))
    if reader is not None:
        return reader(typing.get_args(kind), value, where)
    if kind is Any:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise UserError(f"{_at(where)}expected {kind.__name__}, found {value!r}")
    return value


def _under(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _read_literal(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value not in choices:
        raise UserError(f"{where}: {value!r} is not one of {', '.join(map(str, choices))}")
    return value


def _read_optional(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    return read_section(next(kind for kind in kinds if kind is not type(None)), value, where)


def _read_list(kinds: tuple[Any, ...], value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{_at(where)}expected a list, found {value!r}")
    return [read_section(kinds[0], item, f"{where}[{index}]") for index, item in enumerate(value)]


def _read_dict(kinds: tuple[Any, ...], value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{_at(where)}expected a mapping, found {value!r}")
    return {key: read_section(kinds[1], item, _under(where, key)) for key, item in value.items()}


_READERS: dict[Any, Any] = {
    Literal: _read_literal,
    types.UnionType: _read_optional,
    list: _read_list,
    dict: _read_dict,
}


def _read_dataclass(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(f"{_at(where)}expected a mapping, found {value!r}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [key for key in value if key not in fields]
    if unknown:
        raise UserError(f"{_at(where)}unknown key '{unknown[0]}'; known are {', '.join(fields)}")
    missing = [name for name, field in fields.items() if name not in value and _is_required(field)]
    if missing:
        raise UserError(f"{_at(where)}key '{missing[0]}' is missing")
    read = {key: read_section(hints[key], item, _under(where, key)) for key, item in value.items()}
    try:
        return kind(**read)
    except ValueError as error:
        raise UserError(f"{_at(where)}{error}") from None


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def positive(section: object, *names: str) -> None:
    """Raise ``ValueError`` naming the first of the section's values that is not above 0."""
    for name in names:
        if not getattr(section, name) > 0:
            raise ValueError(f"{name} must be above 0, not {getattr(section, name)}")


def fraction(section: object, *names: str) -> None:
    """Raise ``ValueError`` naming the first of the section's values that is not from 0 to 1."""
    for name in names:
        if not 0 <= getattr(section, name) <= 1:
            raise ValueError(f"{name} must lie in 0..1, not {getattr(section, name)}")
