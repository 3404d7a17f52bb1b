"""Batches by number: what every training reads, each batch a function of its step and the seed alone.

So a resumed run sees what an unbroken one would, and so do any number of loader workers.
"""

from __future__ import annotations

import copy
import signal
from abc import abstractmethod
from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

VALIDATION_UTTERANCES = 64


class Batches(IterableDataset):
    """Batches ``start`` to ``stop`` of an endless series, as dictionaries of tensors.

    Args:
        stop: the step to end before.
        start: the step to begin with.
    """

    divisible = False
    """Whether several processes can divide each batch, by :meth:`share`."""

    def __init__(self, stop: int, start: int = 0) -> None:
        self.start, self.stop = start, stop

    @abstractmethod
    def batch(self, step: int) -> dict[str, Tensor]:
        """Return the batch of one step, the same whenever and wherever it is asked for."""

    def share(self, rank: int, world: int) -> None:
        """Become the part of process ``rank`` of ``world``, which divide each batch."""
        raise NotImplementedError

    def since(self, step: int) -> Self:
        """Return the same batches from ``step`` on."""
        rest = copy.copy(self)
        rest.start = step
        return rest

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        # torch asks worker 0 for the first batch, worker 1 for the second and so on.
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        yield from map(self.batch, range(self.start + offset, self.stop, stride))


def loader(batches: Batches, workers: int) -> DataLoader:
    """Return a loader of whole batches in order; its workers leave interrupts to the main process, which ends them."""
    return DataLoader(
        batches,
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_ignore_signals,
        pin_memory=torch.cuda.is_available(),
    )


def own_share(budget: int) -> int:
    """Return the part of a memory budget, in bytes, that this loader worker may use."""
    worker = get_worker_info()
    return budget // (worker.num_workers if worker else 1)


def validation_steps(utterances: int, batch_size: int) -> int:
    """Return the batches of one validation: every utterance once, up to 64 of them."""
    return -(-min(utterances, VALIDATION_UTTERANCES) // batch_size)


def _ignore_signals(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
