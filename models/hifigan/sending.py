"""Modules that can be sent to another process: torch does not pickle weights that are normed."""

from __future__ import annotations

from typing import Any, Self

from torch import nn


class Sendable(nn.Module):
    """A module that is pickled as the arguments it was made with and its state, whatever norms its weights have."""

    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        """Remember the arguments."""
        made = super().__new__(cls)
        object.__setattr__(made, "_made_with", (arguments, named))
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make another, as pickle asks."""
        flags = [parameter.requires_grad for parameter in self.parameters()]
        return _made_again, (type(self), *self._made_with, self.state_dict(), flags, self.training)


def _made_again(
    kind: type[nn.Module],
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    state: dict[str, Any],
    flags: list[bool],
    training: bool,
) -> nn.Module:
    module = kind(*arguments, **named)
    module.load_state_dict(state)
    for parameter, flag in zip(module.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)
    return module.train(training)
