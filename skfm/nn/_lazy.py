"""The factorization machine layer that infers the number of columns from its first input."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from ._inputs import holds_indices
from ._layer import FactorizationMachine
from ._tables import LazyTable, Table


class LazyFactorizationMachine(LazyModuleMixin, FactorizationMachine):
    """Factorization machine layer that infers the number of columns from its first input.

    The first input must be a matrix, whose second dimension is the number of columns. The layer then becomes a
    `FactorizationMachine`. Like other lazy modules of torch, it must process an input or load a state dict before its
    parameters are passed to an optimizer.

    Parameters
    ----------
    n_factors : int, default=10
        Latent dimension of the pairwise interactions.

    **options : dict
        The other arguments of `FactorizationMachine`.

    See Also
    --------
    FactorizationMachine : Layer with a given number of columns.

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
        """Return whether the number of columns is unknown.

        Returns
        -------
        unknown : bool
            True until the layer has processed an input or loaded a state dict.
        """
        return any(is_lazy(parameter) for parameter in self.parameters())

    def reset_parameters(self) -> None:
        """Reset the parameters to their initial values, if they have been initialized."""
        if not self.has_uninitialized_params():
            super().reset_parameters()
        elif self.bias is not None:
            self.bias.detach().zero_()

    def initialize_parameters(
        self, input: Any, offsets: Tensor | None = None, values: Tensor | None = None
    ) -> None:
        """Infer the number of columns and initialize the parameters.

        Parameters
        ----------
        input : Tensor of shape (n_samples, n_features)
            The first input.
        offsets, values : None
            Must be None: the number of columns cannot be inferred from a triplet.
        """
        begins = self.has_uninitialized_params()
        if begins:
            is_matrix = isinstance(input, Tensor) and input.ndim == 2 and not holds_indices(input)
            if not is_matrix or offsets is not None or values is not None:
                raise ValueError(
                    "The first input of a LazyFactorizationMachine must be a matrix of shape (n_samples, n_features), "
                    "not a triplet or a table of indices. To pass triplets, use FactorizationMachine(n_features)."
                )
            n_features = input.shape[1]
        else:
            # The parameters were loaded from a state dict.
            n_features = len(self.factors.weight)
        for table in (self.factors, self.linear):
            if isinstance(table, LazyTable):
                table._infer_parameters(table, (n_features,))
        self.n_features = n_features
        if begins:
            self.reset_parameters()
