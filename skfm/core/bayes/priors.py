"""Gaussian priors N(mu, Lam^-1) over the (w_j, v_j) of the columns of a field."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor


class FieldPriors:
    """One prior per field and output, fixed or learned.

    Fields are few, and the inverses of their small matrices must be good, so the statistics are
    float64, on the CPU where the device has none; the solvers get copies in their own dtype.

    Attributes
    ----------
    mean : Tensor of shape (n_outputs, n_fields, size)
    precision : Tensor of shape (n_outputs, n_fields, size, size)
    """

    def __init__(
        self, diagonal: Tensor, hyper_scatter: Tensor, n_outputs: int, fields: Tensor, used: Tensor
    ) -> None:
        """Start every field at N(0, diag(diagonal)^-1).

        Parameters
        ----------
        diagonal, hyper_scatter : Tensor of shape (size,)
            In the solver's dtype. Before any data, a prior is taken to have been seen on ``size``
            columns whose squares sum to ``hyper_scatter``.
        n_outputs : int
        fields : Tensor of shape (n_features,)
        used : Tensor of bool of shape (n_features,)
            The columns with data. Only these carry information about a prior.
        """
        n_fields = int(fields.max()) + 1 if len(fields) else 0
        self._fields = fields
        self._members = [_as_slice(((fields == g) & used).nonzero().squeeze(1)) for g in range(n_fields)]
        device = torch.device("cpu") if fields.device.type == "mps" else fields.device
        self._like = diagonal
        self._hyper_scatter = hyper_scatter.to(device, torch.float64)
        size = len(diagonal)
        in_double = diagonal.to(device, torch.float64)
        # Wishart with 2 size degrees of freedom for Lam, N(0, Lam^-1) for mu: what normalizes both.
        self._constant = float(
            size * (self._hyper_scatter / 2).log().sum()
            - (torch.special.multigammaln(in_double.new_tensor(float(size)), size) if size else 0.0)
            - size / 2 * math.log(2 * math.pi)
        )
        self.mean = in_double.new_zeros(n_outputs, n_fields, size)
        self.precision = torch.diag(in_double).expand(n_outputs, n_fields, size, size).clone()
        self._copy()

    def _copy(self) -> None:
        shift = (self.precision @ self.mean[..., None]).squeeze(-1)
        self._solver_copies = self.precision.to(self._like), shift.to(self._like)

    def set(self, mean: Tensor, precision: Tensor) -> None:
        """Set every prior; the tensors have the shapes of the attributes."""
        self.mean.copy_(mean)
        self.precision.copy_(precision)
        self._copy()

    def of(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return Lam and Lam mu of the given columns, output by output.

        Parameters
        ----------
        columns : Tensor of shape (n_columns,)

        Returns
        -------
        Tensor of shape (n_outputs * n_columns, size, size)
        Tensor of shape (n_outputs * n_columns, size)
        """
        groups = self._fields[columns]
        precision, shift = self._solver_copies
        return precision.index_select(1, groups).flatten(0, 1), shift.index_select(1, groups).flatten(0, 1)

    def update(self, theta: Tensor, covariances: Tensor, *, held: Collection[int] = ()) -> Tensor:
        """Set every prior to the maximum of the bound, under a weak hyperprior.

        With n the number of columns of the field that have data::

            mu = sum m / (n + 1)
            Lam^-1 = (H + sum (m - mu)(m - mu)' + sum S + mu mu') / (n + size)     H = diag(hyper_scatter)

        Parameters
        ----------
        theta : Tensor of shape (n_outputs, n_features, size)
        covariances : Tensor of shape (n_outputs, n_features, size[, size])
        held : collection of int
            Fields whose priors are not changed.

        Returns
        -------
        Tensor of shape (n_outputs,)
            `log_density` at the maximum.
        """
        size = theta.shape[-1]
        total = self.mean.new_full((len(theta),), self._constant * len(self._members))
        for g, members in enumerate(self._members):
            if g in held:
                total += self._log_density(g, theta, covariances)
                continue
            count = field_size(members)
            m = theta[:, members].to(self.mean)
            self.mean[:, g] = m.sum(1) / (count + 1)
            factor = torch.linalg.cholesky(self._scatter(g, m, covariances[:, members]) / (count + size))
            self.precision[:, g] = torch.cholesky_inverse(factor)
            # The trace of precision times scatter is a constant here.
            total -= (count + size) * (factor.diagonal(dim1=1, dim2=2).log().sum(1) + size / 2)
        self._copy()
        return total

    def log_density(self, theta: Tensor, covariances: Tensor) -> Tensor:
        """Return E[log p(theta | mu, Lam)] + log p(mu, Lam), less the 2 pi of the columns, (n_outputs,)."""
        total = self.mean.new_full((len(theta),), self._constant * len(self._members))
        for g in range(len(self._members)):
            total += self._log_density(g, theta, covariances)
        return total

    def hyper_density(self) -> Tensor:
        """Return log p(mu, Lam) of all priors together, without the 2 pi, (n_outputs,)."""
        size, H = self.mean.shape[2], self._hyper_scatter
        log_det = torch.logdet(self.precision)
        spread = (self.precision.diagonal(dim1=2, dim2=3) * H).sum(2)
        shift = torch.einsum("bgi,bgij,bgj->bg", self.mean, self.precision, self.mean)
        return self._constant * len(self._members) + (size * log_det - spread - shift).sum(1) / 2

    def _log_density(self, g: int, theta: Tensor, covariances: Tensor) -> Tensor:
        """Return the part of a field, without the constant."""
        members, precision = self._members[g], self.precision[:, g]
        degrees = field_size(members) + theta.shape[-1]
        scatter = self._scatter(g, theta[:, members].to(self.mean), covariances[:, members])
        return (degrees * torch.logdet(precision) - (precision * scatter).sum((1, 2))) / 2

    def _scatter(self, g: int, m: Tensor, covariances: Tensor) -> Tensor:
        """Return H + sum E[(theta - mu)(theta - mu)'] + mu mu', (n_outputs, size, size)."""
        mu = self.mean[:, g]
        centered = m - mu[:, None]
        scatter = centered.mT @ centered + mu[:, :, None] * mu[:, None, :]
        # Short sums in the solver's dtype, their sum in float64: much faster, and hardly less exact.
        for part in covariances.split(256, dim=1):
            summed = part.sum(1).to(self.mean)
            scatter += summed if summed.ndim == 3 else torch.diag_embed(summed)
        scatter.diagonal(dim1=1, dim2=2).add_(self._hyper_scatter)
        return scatter


def field_size(members: Tensor | slice) -> int:
    """Return the number of columns of a field."""
    return members.stop - members.start if isinstance(members, slice) else len(members)


def _as_slice(places: Tensor) -> Tensor | slice:
    """Return increasing places as a slice where they have no gaps, which then needs no copies."""
    if len(places) and int(places[-1]) - int(places[0]) + 1 == len(places):
        return slice(int(places[0]), int(places[-1]) + 1)
    return places
