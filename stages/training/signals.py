"""Signals during a training: noted, so that the step under way ends and is checkpointed, and then obeyed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Collect the SIGINTs and SIGTERMs received while inside, instead of obeying them; yields their numbers."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda found, _: received.append(found))
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
