"""The layer that learns the number of its columns from its first input."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from ._layer import FactorizationMachine
from ._tables import LazyTable, Table


class LazyFactorizationMachine(LazyModuleMixin, FactorizationMachine):
    """Factorization machine that learns the number of its columns from its first input.

    That has to be a matrix, whose second dimension tells. From then on it is a `FactorizationMachine`. As all lazy
    modules of torch, it has to see an input, or load a state, before its parameters go to an optimizer.

    Parameters
    ----------
    n_factors : int, default=10
        Length of the vectors of the interactions.

    **options : dict
        All other arguments of `FactorizationMachine`.

    See Also
    --------
    FactorizationMachine : What it becomes.

    Examples
    --------
    >>> import torch
    >>> from skfm.nn import LazyFactorizationMachine
    >>> layer = LazyFactorizationMachine(n_factors=3)
    >>> layer(torch.eye(4, 5).to_sparse_coo()).shape
    torch.Size([4, 1])
    >>> layer
    FactorizationMachine(
      n_features=5, n_factors=3
      (factors): Table(5, 3, sparse=True)
    )
    """

    cls_to_become = FactorizationMachine

    def __init__(self, n_factors: int = 10, **options: Any) -> None:
        super().__init__(0, n_factors, **options)

    def _table(self, width: int, *, device: Any, dtype: Any) -> Table:
        return LazyTable(width, sparse=self.sparse_grad, device=device, dtype=dtype)

    def has_uninitialized_params(self) -> bool:
        """Tell whether the number of columns is unknown.

        Returns
        -------
        unknown : bool
            Whether no input has been seen, nor a state loaded.
        """
        return any(is_lazy(parameter) for parameter in self.parameters())

    def reset_parameters(self) -> None:
        """Start again from the initial parameters, once there are any."""
        if not self.has_uninitialized_params():
            super().reset_parameters()
        elif self.bias is not None:
            self.bias.detach().zero_()

    def initialize_parameters(
        self, input: Any, offsets: Tensor | None = None, values: Tensor | None = None
    ) -> None:
        """Learn the number of columns.

        Parameters
        ----------
        input : Tensor of shape (n_samples, n_features)
            The first input.
        offsets, values : None
            Those of a triplet, which does not tell.
        """
        begins = self.has_uninitialized_params()
        if begins:
            if not isinstance(input, Tensor) or input.ndim != 2 or offsets is not None or values is not None:
                raise ValueError(
                    "The first input of a LazyFactorizationMachine must be a matrix of shape (n_samples, n_features), "
                    "which a triplet is not. Use FactorizationMachine(n_features)."
                )
            n_features = input.shape[1]
        else:
            # They have come with a state.
            n_features = len(self.factors.weight)
        for table in (self.factors, self.linear):
            if isinstance(table, LazyTable):
                table._infer_parameters(table, (n_features,))
        self.n_features = n_features
        if begins:
            self.reset_parameters()
