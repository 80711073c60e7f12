"""Sources of the batches of an epoch, and the default sizes of batches and numbers of epochs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...matrix.batches import Batch, BatchSource, make_batches
from ...matrix.samples import TensorSamples

#: Up to this number of rows there is one batch, so that the order of the rows does not matter. Measured on planted data
#: of 60 to 2,000 rows: as accurate as smaller batches for classes, more accurate for numbers, and twice as fast.
SMALL = 2560
#: The number of epochs then, up to ``FEW`` rows, and the power of the number of rows that it grows by.
FEW, FEW_EPOCHS, FEW_POWER = 256, 100, 1 / 3
#: Rows of a batch for a million rows, the power of their number that it grows by, and its bounds. Larger batches are
#: faster, and with the epochs below as good; with smaller ones, few rows still make some hundred steps.
BATCH_SIZE, POWER, BATCH_SIZES = 6144, 0.7, (64, 8192)
#: Rows of a batch of a stream, which may have a single epoch: with larger batches, an epoch teaches a little less.
STREAM_BATCH_SIZE = 4096
#: Epochs over a million rows and more; fewer rows take more of them.
EPOCHS, MILLION = 3, 1_000_000
#: The largest average weight that counts as repeats.
MOST_REPEATS = 10


def effective_rows(n_samples: int, total_weight: float) -> int:
    """Return the number of rows to plan for, given the number of rows and the sum of their weights.

    A weight of two is the row twice, so that the sum of the weights counts. Weights can also have an arbitrary scale,
    so that it does not count where it is below the number of rows, or far above.
    """
    return round(min(max(total_weight, n_samples), MOST_REPEATS * n_samples))


def auto_epochs(n_samples: int | None) -> int:
    """Return the number of epochs over ``n_samples`` rows, None for a stream of unknown length."""
    if n_samples is not None and n_samples <= SMALL:
        return round(FEW_EPOCHS * max(1.0, n_samples / FEW) ** FEW_POWER)
    return round(EPOCHS * max(1.0, MILLION / (n_samples or MILLION)) ** 0.4)


def auto_batch_size(n_samples: int | None) -> int:
    """Return a multiple of 64 that grows with the number of rows, None for a stream of unknown length."""
    if n_samples is None:
        return STREAM_BATCH_SIZE
    if n_samples <= SMALL:
        return SMALL
    smallest, largest = BATCH_SIZES
    wanted = BATCH_SIZE * (n_samples / MILLION) ** POWER
    return int(min(largest, max(smallest, smallest * round(wanted / smallest))))


def rows_per_batch(n_samples: int, n_effective: int, size: int) -> int:
    """Return the number of rows per batch, for batches of ``size`` effective rows on average."""
    n_batches = -(-n_effective // size)
    # Without weights, only the last batch is smaller.
    return size if n_samples == n_effective else -(-n_samples // n_batches)


def shuffled(n: int, *seed: int) -> Tensor:
    """Return a permutation, drawn on the CPU so that all devices see the same."""
    state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    return torch.randperm(n, generator=torch.Generator().manual_seed(state >> 1), device="cpu")


def cut(samples: TensorSamples, batch_size: int | str, *seed: int, shuffle: bool) -> list[Batch]:
    """Return a chunk in batches, in an order of its own; "auto" is the size for streams."""
    n_samples = samples.design.shape[0]
    size = batch_size
    if isinstance(size, str):
        n_effective = effective_rows(n_samples, float(samples.side.weight.double().sum()))
        size = rows_per_batch(n_samples, n_effective, auto_batch_size(None))
    order = None
    if shuffle and n_samples > size:
        order = shuffled(n_samples, *seed).to(samples.design.device)
    return list(make_batches(samples, size, order))


class PlannedBatches(BatchSource):
    """Batches of samples in memory, laid out once, in a different order every epoch.

    Parameters
    ----------
    samples : TensorSamples
    batch_size : int
    seed : int
    shuffle : bool
    pin : bool
        Whether to keep the batches in pinned memory, from where a GPU takes them one by one.
    """

    n_segments = 1

    def __init__(
        self, samples: TensorSamples, batch_size: int, seed: int, *, shuffle: bool, pin: bool = False
    ) -> None:
        batches = cut(samples, batch_size, seed, shuffle=shuffle)
        self._batches = [batch.pin() for batch in batches] if pin else batches
        self._seed, self._shuffle = seed, shuffle

    def segments(self, epoch: int, start: int = 0) -> Iterator[list[Batch]]:
        if start:
            return
        batches = self._batches
        if self._shuffle:
            batches = [batches[i] for i in shuffled(len(batches), self._seed, 1 + epoch).tolist()]
        yield batches
