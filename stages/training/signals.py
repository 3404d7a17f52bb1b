"""Signals during a training: noted, so that the step under way ends and is checkpointed, and then obeyed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = (signal.SIGINT, signal.SIGTERM)


def note_into(received: list[int]) -> None:
    """Add to ``received`` whatever signal asks this process to stop from now on, and do nothing else about it."""
    for number in STOPPING:
        signal.signal(number, lambda found, _: received.append(found))


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Collect the SIGINTs and SIGTERMs received while inside, instead of obeying them; yields their numbers."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in STOPPING}
    note_into(received)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
