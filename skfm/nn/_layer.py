"""The factorization machine as a PyTorch module."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._function import FMOptions, sparse_raw
from ._inputs import parse
from ._plain import dense_raw, traced_raw
from ._tables import Table

#: Older versions of torch do not distinguish export from compilation, so there all traced graphs have dense gradients.
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)

#: Activation functions by name.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": torch.nn.functional.softplus,
    "tanh": torch.tanh,
}

#: Standard deviation of the initial factors.
INIT_SCALE = 0.01


class FactorizationMachine(torch.nn.Module):
    """Factorization machine layer.

    For each row x of a sparse or dense matrix, the layer computes the sum of the interactions of all pairs of columns.
    The strength of an interaction is the inner product of the factors of the two columns, which are vectors of length
    `n_factors` [1]_::

        output(x) = sum_{i<j} <factors_i, factors_j> x_i x_j        (+ <linear, x> + bias)

    Time and memory are linear in the number of non-zero entries, and independent of the number of columns and pairs.

    Parameters
    ----------
    n_features : int
        Number of columns.

    n_factors : int, default=10
        Latent dimension of the pairwise interactions.

    linear : bool, default=False
        Whether to add a linear term. Its weights are initialized to zero.

    bias : bool, default=False
        Whether to add a bias. It is initialized to zero.

    factor_init : callable or Tensor of shape (n_features, n_factors), default=None
        Initialization of the factors: a function that fills the tensor that it receives, such as those of
        :mod:`torch.nn.init`, or returns a new tensor; or the initial values. With None, the values are drawn from a
        normal distribution with mean 0 and standard deviation 0.01. Factors must not be all zero, since then their
        gradients are zero.

    factor_regularizer : callable, default=None
        Function that maps the factors, of shape (n_features, n_factors), to a scalar tensor: the penalty that the
        method `regularization` returns.

    activation : callable or {"exp", "relu", "sigmoid", "softplus", "tanh"}, default=None
        Element-wise function that is applied to the output.

    sparse_grad : bool, default=True
        Whether the gradients of the factors and the linear weights are sparse tensors with one row per column in use.
        Sparse gradients are supported by :class:`torch.optim.SGD`, :class:`torch.optim.SparseAdam` and
        :class:`torch.optim.Adagrad`, without weight decay. They are coalesced, except under :func:`torch.compile`.

    binary_values : bool, default=False
        Whether to replace the values of all stored entries by one; in a dense matrix, those of all non-zero entries.
        This avoids multiplications.

    subtract_self_interactions : bool, default=True
        Whether to exclude the interactions of each column with itself. If False and `half` is True, the output is half
        the squared norm of ``sum_j x_j factors_j``.

    half : bool, default=True
        Whether each pair is counted once. If False, each pair is counted twice, which omits the factor 1/2 of the
        squared norm.

    device : torch.device or str, default=None
        Device of the parameters.

    dtype : torch.dtype, default=None
        Data type of the parameters. With half precision, sums are accumulated in float32.

    Attributes
    ----------
    factors : torch.nn.Embedding
        The factors. Its ``weight`` has shape (n_features, n_factors).

    linear : torch.nn.Embedding or None
        The linear weights. Its ``weight`` has shape (n_features, 1).

    bias : Parameter of shape (1,) or None
        The bias.

    scale : float
        Scale of the squared norm: 1/2 if `half`, else 1.

    See Also
    --------
    LazyFactorizationMachine : Layer that infers `n_features` from its first input.
    skfm.FMClassifier.to_module : Convert a fitted estimator to a module.

    Notes
    -----
    If a row has several entries for the same column, their values are summed. If `binary_values` is True, they count
    as a single one.

    With ``create_graph=True``, gradients are dense, and higher-order derivatives of any order are supported. Values
    are converted to the data type of the parameters. Under autocast, the layer is computed in the data type of its
    parameters.

    References
    ----------
    .. [1] Steffen Rendle, "Factorization Machines", IEEE International Conference on Data Mining, 2010.

    Examples
    --------
    Two rows with the columns {0, 2} and {1, 2, 3}, and a third row without entries:

    >>> import torch
    >>> from skfm.nn import FactorizationMachine
    >>> layer = FactorizationMachine(4, n_factors=2, factor_init=torch.nn.init.ones_)
    >>> indices, offsets = torch.tensor([0, 2, 1, 2, 3]), torch.tensor([0, 2, 5])
    >>> layer(indices, offsets)
    tensor([[2.],
            [6.],
            [0.]], grad_fn=<UnsqueezeBackward0>)

    A dense tensor as a sparse matrix, and an optimizer step that changes only the columns in use:

    >>> X = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    >>> layer(X.to_sparse()).sum().backward()
    >>> layer.factors.weight.grad.to_dense()
    tensor([[1., 1.],
            [0., 0.],
            [1., 1.],
            [0., 0.]])
    >>> torch.optim.SparseAdam(layer.parameters()).step()
    """

    linear: Table | None
    bias: torch.nn.Parameter | None

    def __init__(
        self,
        n_features: int,
        n_factors: int = 10,
        *,
        linear: bool = False,
        bias: bool = False,
        factor_init: Callable[[Tensor], Any] | Tensor | None = None,
        factor_regularizer: Callable[[Tensor], Tensor] | None = None,
        activation: Callable[[Tensor], Tensor] | str | None = None,
        sparse_grad: bool = True,
        binary_values: bool = False,
        subtract_self_interactions: bool = True,
        half: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        numbers: dict[str, Any] = {"n_features": n_features, "n_factors": n_factors}
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise ValueError(f"{name} must be a non-negative integer, got {number!r}.")
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(map(repr, ACTIVATIONS))} or a function, got "
                f"{activation!r}."
            )
        for name, function in (("activation", activation), ("factor_regularizer", factor_regularizer)):
            if not (function is None or isinstance(function, str) or callable(function)):
                raise TypeError(f"{name} must be callable, got {function!r}.")
        if not (factor_init is None or isinstance(factor_init, Tensor) or callable(factor_init)):
            raise TypeError(f"factor_init must be callable or a tensor, got {factor_init!r}.")
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(f"dtype must be a floating-point dtype, got {dtype}.")
        self.n_features = n_features
        self.n_factors = n_factors
        self.factor_init = factor_init
        self.factor_regularizer = factor_regularizer
        self.activation = activation
        self.sparse_grad = sparse_grad
        self.binary_values = binary_values
        self.subtract_self_interactions = subtract_self_interactions
        self.scale = 0.5 if half else 1.0
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.factors = self._table(n_factors, **place)
        self.linear = self._table(1, **place) if linear else None
        self.bias = torch.nn.Parameter(torch.empty(1, **place)) if bias else None
        self.reset_parameters()

    def _table(self, width: int, *, device: Any, dtype: Any) -> Table:
        return Table(self.n_features, width, sparse=self.sparse_grad, device=device, dtype=dtype)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Reset the parameters to their initial values; random values are drawn again."""
        if self.linear is not None:
            self.linear.weight.zero_()
        if self.bias is not None:
            self.bias.zero_()
        factors, init = self.factors.weight, self.factor_init
        if init is None:
            factors.normal_(std=INIT_SCALE)
            return
        start = init if isinstance(init, Tensor) else init(factors)
        if isinstance(start, Tensor) and start is not factors:
            if start.shape != factors.shape:
                raise ValueError(
                    f"factor_init gives a tensor of shape {tuple(start.shape)}, but the factors have shape "
                    f"(n_features, n_factors) = {tuple(factors.shape)}."
                )
            factors.copy_(start)
        if factors.device.type != "meta" and factors.numel() and not factors.any():
            warnings.warn(
                "factor_init sets all factors to zero. Then the gradients of the factors are zero, so training does "
                "not change them. Use small random numbers, for example with factor_init=None.",
                UserWarning,
                stacklevel=3,
            )

    def forward(
        self,
        input: Tensor | tuple[Tensor, ...],
        offsets: Tensor | None = None,
        values: Tensor | None = None,
    ) -> Tensor:
        """Return the output of each row.

        Parameters
        ----------
        input : Tensor of shape (n_samples, n_features), or triplet
            One of the following: a dense, sparse COO or sparse CSR matrix; the column indices of the entries, row by
            row, as for :class:`torch.nn.EmbeddingBag`, of shape (nnz,) and dtype int32 or int64, or of shape
            (n_samples, length) if all rows have the same length; or a tuple ``(indices, offsets, values)``, in which
            the last two may be omitted or None. A dense tensor of integers always holds indices: convert a dense
            matrix of integers with ``X.float()``.
        offsets : Tensor of shape (n_samples,), default=None
            Position of the first entry of each row. None if the indices are two-dimensional.
        values : Tensor of shape (nnz,) or (n_samples, length), default=None
            Values of the entries. None if all are one.

        Returns
        -------
        output : Tensor of shape (n_samples, 1)
            The output, in the data type of the parameters.
        """
        raw = self._raw(input, offsets, values)
        raw = raw if self.bias is None else raw + self.bias
        output = raw[:, None]
        if self.activation is None:
            return output
        return (ACTIVATIONS[self.activation] if isinstance(self.activation, str) else self.activation)(output)

    def _raw(self, input: Any, offsets: Tensor | None, values: Tensor | None) -> Tensor:
        factors, linear = self.factors.weight, None if self.linear is None else self.linear.weight
        binary = self.binary_values
        options = FMOptions(self.scale, self.subtract_self_interactions, self.sparse_grad)
        if (
            torch.compiler.is_compiling()
            and self.sparse_grad
            and self._needs_gradient()
            and not is_exporting()
        ):
            return self._raw_outside_graph(input, offsets, values)
        entries = parse(input, offsets, values, self.n_features)
        if isinstance(entries, Tensor):
            return dense_raw(entries, factors, linear, options, binary=binary)
        if torch.compiler.is_compiling() or factors.device.type == "meta":
            return traced_raw(entries, factors, linear, options, binary=binary)
        return sparse_raw(entries, factors, linear, options, binary=binary)

    def _needs_gradient(self) -> bool:
        """Return whether gradients of the factors or the linear weights are needed."""
        tables = (self.factors, self.linear)
        return torch.is_grad_enabled() and any(t is not None and t.weight.requires_grad for t in tables)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _raw_outside_graph(self, input: Any, offsets: Tensor | None, values: Tensor | None) -> Tensor:
        """Return the raw predictions outside of a compiled graph, in which sparse gradients are not supported."""
        return self._raw(input, offsets, values)

    def regularization(self) -> Tensor:
        """Return the penalty of the factors, to be added to the loss.

        Returns
        -------
        penalty : Tensor of shape ()
            The value of `factor_regularizer`, or zero if it is None. Its gradient is dense, regardless of
            `sparse_grad`.
        """
        factors = self.factors.weight
        if self.factor_regularizer is None:
            return factors.new_zeros(())
        penalty: Any = self.factor_regularizer(factors)
        if not isinstance(penalty, Tensor) or penalty.numel() != 1:
            raise ValueError(f"factor_regularizer must return a tensor with one number, got {penalty!r}.")
        scalar: Tensor = penalty.reshape(())
        return scalar

    def output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """Return the shape of the output without running the layer.

        Parameters
        ----------
        input_shape : tuple
            Shape ``(n_samples, n_features)`` of the input matrix. ``n_samples`` may be None if it is unknown.

        Returns
        -------
        shape : tuple
            The shape ``(n_samples, 1)``.
        """
        if len(input_shape) != 2 or input_shape[1] != self.n_features:
            raise ValueError(
                f"input_shape must be (n_samples, n_features={self.n_features}), got {tuple(input_shape)}."
            )
        return input_shape[0], 1

    def extra_repr(self) -> str:
        """Return the part of the representation that describes this layer.

        Returns
        -------
        shown : str
            The dimensions, and the settings that differ from their defaults.
        """
        shown = [f"n_features={self.n_features}", f"n_factors={self.n_factors}"]
        flags = {"sparse_grad": True, "binary_values": False, "subtract_self_interactions": True}
        shown += [
            f"{name}={not default}" for name, default in flags.items() if getattr(self, name) != default
        ]
        if self.scale == 1:
            # The setting is not stored as `half`, which is a method of torch.nn.Module.
            shown.append("half=False")
        if self.bias is not None:
            shown.append("bias=True")
        if isinstance(self.activation, str):
            shown.append(f"activation={self.activation!r}")
        return ", ".join(shown)
