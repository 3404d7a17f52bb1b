"""Ctrl-C before a flow begins, when no stage is there to end: Python's KeyboardInterrupt, and a memory of it.

Reading a graph goes through libraries that catch everything where they expect one thing, and a KeyboardInterrupt with
it; what is raised while Python cleans up is lost as well. Whoever has typed Ctrl-C must not see the flow begin.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def remembered_interrupts() -> Iterator[threading.Event]:
    """While inside: Ctrl-C raises KeyboardInterrupt as ever, and sets what is yielded."""
    heard = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        heard.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, hear)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)
