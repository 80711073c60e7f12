"""The l2 penalties of a minibatch solver: given, or learned for each field and factor along the way.

A learned penalty is the precision of a normal prior, at its most likely value given the parameters and
their uncertainty, as in variational Bayes. For a field of n columns, parameter by parameter::

    precision = (n + 1) / (1 / start + sum_j (theta_j^2 + u_j))        l2 = precision / alpha
    u_j = 1 / (alpha H_j E[q^2] + precision)        H_j = sum_i omega_i x_ij^2 over a pass

q is the sum of the factors of a row's other columns (one for linear weights), and alpha = sum omega / sum delta^2
makes a likelihood of the loss: for squared errors it is the precision of the noise. The uncertainty of the
other columns of a row, the sum of their u, is a penalty too, H_j times as strong: it delays a column with
few rows, or among such columns. All this requires only sums over rows that every batch provides, and an
occasional evaluation of some columns of each field.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ...matrix.reduce import LOCAL, Reduction
from ...matrix.row_ops import take_rows
from ..problem import Settings

#: Precision to begin with of linear weights; that of factors gives all interactions of a row a variance of one.
START_LINEAR = 1.0
#: How much of the variance of the other columns counts. All of it, as in mean field theory, holds back many sparse
#: fields; none of it lets them overfit (measured on planted clicks of 1e4 to 1e6 rows).
NEIGHBOR_SHARE = 0.4
#: Number of columns of a field that are sampled.
SAMPLE = 4096
#: The first update, and the growth of the number of batches from one to the next.
FIRST_UPDATE, GROWTH = 8, 1.5
#: Bounds of alpha: between them a fit is neither perfect nor hopeless.
ALPHA_RANGE = 1e-4, 1e6


class Penalties:
    """The current penalties of all fields.

    Parameters
    ----------
    l2_linear, l2_factors : float or "auto"
    fields : LongTensor of shape (n_features,)
    n_outputs, n_factors : int
    like : Tensor
        Of the dtype and on the device of the parameters.
    reduction : Reduction
        Completes the sums over the rows of the batches.
    """

    def __init__(
        self,
        l2_linear: float | str,
        l2_factors: float | str,
        fields: Tensor,
        n_outputs: int,
        n_factors: int,
        like: Tensor,
        reduction: Reduction = LOCAL,
    ) -> None:
        size = 1 + n_factors
        given = _given(l2_linear, l2_factors, like.new_ones(size))
        learned = torch.ones(size, dtype=torch.bool, device=like.device)
        learned[0] = isinstance(l2_linear, str)
        learned[1:] = isinstance(l2_factors, str)
        self._reduction = reduction
        #: Whether any penalty is learned.
        self.learns = bool(learned.any())
        n_fields = int(fields.max()) + 1 if self.learns and len(fields) else 1
        self._given, self._learned = given, learned
        self._start = like.new_full((size,), START_LINEAR)
        self._fields = fields
        if self.learns:
            self._columns = _sample(fields, n_fields)
            self._all, self._sampled = (Groups(f, n_fields) for f in (fields, fields[self._columns]))
        self._shape = n_outputs, size
        #: Precisions of the prior, (n_fields, n_outputs, size).
        self.precision = like.new_full((n_fields, n_outputs, size), START_LINEAR)
        #: The penalties, one row per field, (n_fields, n_outputs * size).
        self.l2 = given.repeat(n_fields, n_outputs)
        #: Sums since the last update: omega [1, s^2] and delta^2 of each output, (n_outputs, size + 1).
        self.sums = like.new_zeros(n_outputs, size + 1)
        #: Variance of the other factors of a row, for columns of each field, in the shape of ``l2``.
        self.neighbor_variance = torch.zeros_like(self.l2)
        self.next_update = FIRST_UPDATE
        if self.learns:
            # For each column and output, the positions of its penalties and its neighbor variance.
            first = torch.arange(n_fields * n_outputs, dtype=torch.int32, device=like.device)
            pairs = torch.stack([first, first + len(first)], 1).view(n_fields, -1)
            self._rows = take_rows(pairs, fields)

    def begin(self, entries_per_row: float) -> None:
        """Set the initial precisions, given the average number of non-zeros of a row."""
        n_factors = len(self._start) - 1
        pairs = entries_per_row * max(0.0, entries_per_row - 1) / 2
        self._start[1:] = max(1.0, (n_factors * pairs) ** 0.5)
        self.restart()

    def restart(self) -> None:
        """Return to the initial precisions."""
        self.precision[:] = self._start
        self.l2.copy_(torch.where(self._learned, self.precision, self._given).flatten(1))
        self.neighbor_variance.zero_()
        self.sums.zero_()

    def share(self, columns: Tensor, share: Tensor, curvature: Tensor) -> Tensor:
        """Return the penalties for a batch: their share, and the neighbor variance times the curvature.

        Parameters
        ----------
        columns : LongTensor of shape (n_columns,)
        share : Tensor of shape (n_columns, 1)
        curvature : Tensor of shape (n_columns, n_outputs)

        Returns
        -------
        Tensor of shape (n_columns, n_outputs * size)
        """
        n_outputs, size = self._shape
        if not self.learns:
            return self.l2 * share
        # A sum of two rows of a small table, with weights.
        rows = take_rows(self._rows, columns)
        weights = torch.stack([share.expand_as(curvature), curvature], 2)
        table = torch.cat([self.l2.view(-1, size), self.neighbor_variance.view(-1, size)])
        found = embedding_bag(rows.view(-1, 2), table, mode="sum", per_sample_weights=weights.view(-1, 2))
        return found.view(-1, n_outputs * size)

    def linear(self, columns: Tensor) -> Tensor:
        """Return the penalties of the linear weights of columns, (n_columns or 1, n_outputs)."""
        linear = self.l2[:, :: self._shape[1]]
        return linear.index_select(0, self._fields.index_select(0, columns)) if self.learns else linear

    def update(self, theta: Tensor, curvature: Tensor, total: Tensor, n_batches: int) -> None:
        """Learn the penalties anew.

        Parameters
        ----------
        theta : Tensor of shape (n_features, n_outputs * size)
        curvature : Tensor of shape (n_features, n_outputs)
            Sums of omega x^2 over a pass, or over the data so far.
        total : Tensor of shape (n_outputs,)
            Sum of omega.
        n_batches : int
            Batches so far, which decide when to update next.
        """
        self.next_update = max(n_batches + FIRST_UPDATE, int(n_batches * GROWTH))
        n_outputs, size = self._shape
        columns = self._columns
        H = curvature.index_select(0, columns)
        used = (H.sum(1) > 0).to(H.dtype)
        fields = self._fields.index_select(0, columns)
        squares = theta.index_select(0, columns).view(-1, n_outputs, size).square()
        by_field = self._sampled.sum
        tiny = torch.finfo(H.dtype).tiny
        sums = self._reduction.sum(self.sums)
        omega = sums[:, :1].clamp(min=tiny)
        alpha = (omega / sums[:, -1:].clamp(min=tiny)).clamp(*ALPHA_RANGE)
        # The sums of a row hold a column's own factors too, on average those of its field.
        weight = by_field(H)[:, :, None].clamp(min=tiny)
        own = by_field(squares * H[:, :, None]) / weight
        others = (sums[:, :-1] / omega - own).clamp(min=0)
        others[:, :, 0] = 1
        others += self.neighbor_variance.view_as(others) / NEIGHBOR_SHARE
        known = alpha * H[:, :, None] * others.index_select(0, fields)
        unknown = 1 / (known + self.precision.index_select(0, fields))
        # Non-zeros of a row in each field.
        per_row = self._all.sum(curvature)[:, :, None] / total[:, None]
        variance = by_field(unknown * H[:, :, None]) / weight
        neighbors = NEIGHBOR_SHARE * ((per_row * variance).sum(0) - variance).clamp(min=0)
        neighbors[:, :, 0] = 0
        self.neighbor_variance.copy_(torch.where(self._learned, neighbors, 0).flatten(1))
        count = by_field(used[:, None])[:, :, None]
        scatter = by_field((squares + unknown) * used[:, None, None])
        learned = (count + 1) / (1 / self._start + scatter)
        self.precision.copy_(torch.where(count > 0, learned, self.precision))
        self.l2.copy_(torch.where(self._learned, self.precision / alpha, self._given).flatten(1))
        self.sums.zero_()

    def restore_given(self) -> None:
        """Restore the given penalties, which may differ from those of the run that the state comes from."""
        l2 = self.l2.view(len(self.l2), *self._shape)
        self.l2.copy_(torch.where(self._learned, l2, self._given).flatten(1))

    def give(self, settings: Settings) -> None:
        """Take the given penalties from other settings."""
        self._given = _given(settings.l2_linear, settings.l2_factors, self._given)
        self.restore_given()

    def in_units(
        self, ratio: Tensor, slope: float, curvature: float, columns: Tensor, settings: Settings
    ) -> Penalties:
        """Return the penalties in other units, see `skfm.core.solvers.minibatch.new_units.UnitChange`.

        Parameters
        ----------
        ratio : Tensor of shape (n_outputs,)
        slope, curvature : float
        columns : Tensor of bool of shape (n_features,)
            The columns whose units change. The precisions of their fields begin anew.
        settings : Settings
            Holds the given penalties.
        """
        new, (_, size) = copy.copy(self), self._shape
        weights = ratio[:, None].repeat(1, size)
        # Squares of the parameters: those of factors are proportional to the target.
        weights[:, 0] = weights[:, 0].square()
        alpha = self.precision / self.l2.view_as(self.precision).clamp(min=torch.finfo(ratio.dtype).tiny)
        precision = self.precision / weights
        if self.learns and bool(columns.any()):
            fields = torch.unique(self._fields[columns])
            precision[fields] = self._start.expand_as(precision[fields])
        alpha = alpha * (curvature / slope**2)
        new.precision = precision
        new.l2 = torch.where(self._learned, precision / alpha, self._given).flatten(1)
        new.neighbor_variance = self.neighbor_variance * weights.flatten()
        new.sums = self.sums * curvature
        new.sums[:, 1:-1] *= weights[:, 1:]
        new.sums[:, -1] *= slope**2 / curvature
        new.give(settings)
        return new

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that change while learning, under the names that saved models have."""
        return {
            "precision": self.precision,
            "precision_start": self._start,
            "l2": self.l2,
            "doubt": self.neighbor_variance,
            "penalty_sums": self.sums,
        }


def _given(l2_linear: float | str, l2_factors: float | str, like: Tensor) -> Tensor:
    """Return the given penalties of the linear weight and the factors; those that are learned are one."""
    given = torch.ones_like(like)
    if not isinstance(l2_linear, str):
        given[0] = l2_linear
    if not isinstance(l2_factors, str):
        given[1:] = l2_factors
    return given


class Groups:
    """Columns by field, to sum over.

    Parameters
    ----------
    fields : LongTensor of shape (n_columns,)
    n_fields : int
    """

    def __init__(self, fields: Tensor, n_fields: int) -> None:
        in_order = bool((fields.diff() >= 0).all())
        self._members = torch.arange(len(fields), device=fields.device) if in_order else fields.argsort()
        counts = torch.bincount(fields, minlength=n_fields)
        self._offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    def sum(self, rows: Tensor) -> Tensor:
        """Return sums over the columns of each field, (n_fields, ...), of rows of shape (n_columns, ...)."""
        table = rows.flatten(1)
        found = embedding_bag(self._members, table, self._offsets, mode="sum", include_last_offset=True)
        return found.view(-1, *rows.shape[1:])


def _sample(fields: Tensor, n_fields: int) -> Tensor:
    """Return all columns of small fields and about SAMPLE of each large one."""
    counts = torch.bincount(fields, minlength=n_fields)
    if len(fields) <= SAMPLE:
        return torch.arange(len(fields), device=fields.device)
    # Drawn on the CPU, so that every device looks at the same columns.
    draws = torch.rand(
        len(fields), generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu"
    ).to(fields.device)
    return (draws * counts.index_select(0, fields) < SAMPLE).nonzero()[:, 0]
