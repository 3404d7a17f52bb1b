"""Faults of the machine in a stage, told apart from those of its code or its user: exit statuses of sysexits.h."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from speech.errors import UserError

EXHAUSTED = 71  # EX_OSERR: memory or disk is used up, and the same again would end the same
LOST = 75  # EX_TEMPFAIL: a worker or the cluster is gone, and another try may well succeed


class LostError(UserError):
    """A worker process, or the cluster, is gone; finished shards are kept, so that trying again costs little."""

    status = LOST


class ExhaustedError(UserError):
    """Memory or disk is used up, as stated by code that knows which parameter to lower."""

    status = EXHAUSTED


def exhausted(error: BaseException) -> str | None:
    """Return one line on what an error, or one that led to it, states as used up; None when it states no such thing."""
    for each in _chain(error):
        text = " ".join(str(each).split())
        if _is_disk(each, text):
            place = getattr(each, "filename2", None) or getattr(each, "filename", None)
            return (
                f"{f'{place}: ' if place else ''}the disk is full; finished shards and checkpoints are kept: make room "
                "('dvc gc --workspace' drops what the present tables do not need) and run again"
            )
        if _is_memory(each, text):
            return (
                f"out of memory ({text[:120] or type(each).__name__}); finished shards and checkpoints are kept: lower "
                "runtime.workers or the batch size and run again"
            )
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__


def _is_disk(error: BaseException, text: str) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # What safetensors (Rust) makes of it, and torch's writer when a file ends before it should.
    return "No space left on device" in text or ("inline_container.cc" in text and "unexpected pos" in text)


def _is_memory(error: BaseException, text: str) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    # torch's, known by name so that nothing imports it here: a device's, and the processor's.
    return type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator: can't allocate memory" in text
