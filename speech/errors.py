"""The one error a user is meant to read; everything else is a bug and keeps its traceback."""

from collections.abc import Sequence


class UserError(Exception):
    """A bad file, bad parameter or missing program: one line that states what, where and what to do.

    Entry points print it without a traceback and exit with its ``status``.
    """

    status = 2


class AudioError(UserError):
    """A recording that cannot be used: unreadable, empty, silent, too short or non-finite."""


def some_of(names: Sequence[str], most: int = 12) -> str:
    """Return names for a message: all of a few, the first of many."""
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more} more"
