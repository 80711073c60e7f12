"""Criteria for treating the losses of a minibatch run as a blow-up."""

from __future__ import annotations

import math

import torch

from ...matrix.batches import Batch
from ...matrix.parameters import FMParameters
from .trainer import Trainer

#: A mean loss this far above that of the start is a blow-up.
BLOW_UP = 3.0


class LossLimit:
    """Compares mean losses with those of the best constant.

    Parameters
    ----------
    trainer : Trainer
    start : FMParameters
        Where the run starts. Its intercept is the constant.

    Attributes
    ----------
    base : float
        A mean loss that is far from a blow-up; infinite before `begin`.
    """

    def __init__(self, trainer: Trainer, start: FMParameters) -> None:
        self.base = math.inf
        self._trainer, self._start = trainer, start

    def begin(self, batches: list[Batch]) -> None:
        """Measure the base on the first batch of a run."""
        if self.base == math.inf and batches:
            # The factors to begin with can be far off by themselves where rows have many non-zeros.
            self.base = max(self._constant_loss(batches[0]), float(self._trainer.mean_loss(batches[0])))

    def is_fit(self, mean: float, batches: list[Batch]) -> bool:
        """Return whether the mean loss of a segment is that of a fit: not far above that of a constant."""
        if mean < _limit(self.base):
            return True
        # The segment may hold outliers, or rows with many non-zeros, that the first batch did not have.
        weights = [float(batch.weight.sum()) for batch in batches]
        for loss in (self._constant_loss, self._start_loss):
            losses = (weight * loss(batch) for weight, batch in zip(weights, batches, strict=True))
            if mean < _limit(max(self.base, sum(losses) / sum(weights))):
                return True
        return False

    def holds(self, batches: list[Batch]) -> bool:
        """Return whether the last step has led to a fit: the losses so far are from before each step."""
        if not batches:
            return True
        loss = float(self._trainer.mean_loss(batches[-1]))
        if loss < _limit(max(self.base, self._constant_loss(batches[-1]))):
            return True
        # Rows far from those before can be predicted so badly at the start that a single step does not suffice.
        return loss < self._start_loss(batches[-1])

    def _start_loss(self, batch: Batch) -> float:
        trainer, device = self._trainer, self._trainer.theta.device
        batch = batch.to(device)
        columns = torch.cat([batch.columns, trainer.dense_columns])
        linear, factors = (part[:, columns] for part in (self._start.linear, self._start.factors))
        theta = torch.cat([linear[:, :, None], factors], 2).permute(1, 0, 2).reshape(len(columns), -1)
        return float(trainer.mean_loss(batch, theta, self._start.intercept))

    def _constant_loss(self, batch: Batch) -> float:
        raw = self._start.intercept[:, None].expand(-1, len(batch.target)).to(batch.target.device)
        losses = self._trainer.loss.loss(batch.target[None], raw).sum(0)
        return float(losses @ batch.weight / batch.weight.sum())


def _limit(loss: float) -> float:
    """Return where a mean loss is a blow-up, given that of a constant model."""
    return loss + BLOW_UP * (1 + abs(loss))
