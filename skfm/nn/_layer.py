"""The layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._function import Form, sparse_raw
from ._inputs import parse
from ._plain import dense_raw, traced_raw
from ._tables import Table

#: Where torch does not tell, all traced graphs have dense gradients.
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)

#: Activations by name.
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
    """Factorization machine as a layer.

    For each row x of a sparse or dense matrix it computes the strength of all its pairs of columns together, which
    are inner products of two vectors of `n_factors` numbers, one a column::

        output(x) = sum_{i<j} <factors_i, factors_j> x_i x_j        (+ <linear, x> + bias)

    Time and memory grow with the number of entries that are not zero, not with the number of columns or pairs.

    Parameters
    ----------
    n_features : int
        Number of columns.

    n_factors : int, default=10
        Length of the vectors of the interactions.

    linear : bool, default=False
        Whether to add a linear term. Its weights begin at zero.

    bias : bool, default=False
        Whether to add a bias, which begins at zero.

    factor_init : callable or Tensor of shape (n_features, n_factors), default=None
        What the factors begin with: a function that fills the tensor it is given, as those of :mod:`torch.nn.init`
        do, or returns another one; or the numbers themselves. None draws from a normal distribution with standard
        deviation 0.01. Zeros would never change, since each factor's gradient is a multiple of the others.

    factor_regularizer : callable, default=None
        Function of the factors, (n_features, n_factors), that `regularization` returns the value of.

    activation : callable or {"exp", "relu", "sigmoid", "softplus", "tanh"}, default=None
        Applied to the output, which keeps its shape.

    sparse_grad : bool, default=True
        Whether the gradients of factors and linear weights are sparse tensors with the rows of the columns in use.
        :class:`torch.optim.SGD`, :class:`torch.optim.SparseAdam` and :class:`torch.optim.Adagrad` take them, with no
        weight decay. They name each column once, in order, unless under :func:`torch.compile`.

    binary_values : bool, default=False
        Whether every stored entry counts as one, whatever its value; of a dense matrix, every number but zero.
        That saves the multiplications.

    subtract_self_interactions : bool, default=True
        Whether to leave out the pairs of a column with itself. If not, the output is half the squared length of the
        sum of the vectors, times their values.

    half : bool, default=True
        Whether each pair counts once. Without the factor 1/2 before the squares it counts twice.

    device : torch.device or str, default=None
        Where the parameters are.

    dtype : torch.dtype, default=None
        Type of the parameters. In half precision sums are made in float32.

    Attributes
    ----------
    factors : torch.nn.Embedding
        Its ``weight`` has the shape (n_features, n_factors).

    linear : torch.nn.Embedding or None
        Its ``weight`` has the shape (n_features, 1).

    bias : Parameter of shape (1,) or None
        The bias.

    scale : float
        The factor before the squares, 1/2 or 1: see `half`.

    See Also
    --------
    LazyFactorizationMachine : Learns `n_features` from its first input.
    skfm.FMClassifier.to_module : A fitted estimator as a module.

    Notes
    -----
    A row that holds a column twice has the sum of both values there, once in each pair. If `binary_values`, they count
    as one together.

    With ``create_graph=True`` gradients are dense, and can be differentiated any number of times. Values are converted
    to the type of the parameters. Autocast leaves the layer in the precision of its parameters.

    Examples
    --------
    Two rows with the columns {0, 2} and {1, 2, 3}, and a third without entries.

    >>> import torch
    >>> from skfm.nn import FactorizationMachine
    >>> layer = FactorizationMachine(4, n_factors=2, factor_init=torch.nn.init.ones_)
    >>> indices, offsets = torch.tensor([0, 2, 1, 2, 3]), torch.tensor([0, 2, 5])
    >>> layer(indices, offsets)
    tensor([[2.],
            [6.],
            [0.]], grad_fn=<UnsqueezeBackward0>)

    The same as a matrix, and a step that changes only the columns in use:

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
                raise ValueError(f"{name} must be a whole number and not negative, got {number!r}.")
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(
                f"activation={activation!r} is none of {', '.join(map(repr, ACTIVATIONS))}. Pass a function instead."
            )
        for name, function in (("activation", activation), ("factor_regularizer", factor_regularizer)):
            if not (function is None or isinstance(function, str) or callable(function)):
                raise TypeError(f"{name} must be callable, got {function!r}.")
        if not (factor_init is None or isinstance(factor_init, Tensor) or callable(factor_init)):
            raise TypeError(f"factor_init must be callable or a tensor, got {factor_init!r}.")
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(f"dtype must be a floating point type, got {dtype}.")
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
        """Start again from the initial parameters."""
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
                    f"factor_init gives a tensor of shape {tuple(start.shape)}, but the factors have the shape "
                    f"(n_features, n_factors) = {tuple(factors.shape)}."
                )
            factors.copy_(start)
        if factors.device.type != "meta" and factors.numel() and not factors.any():
            warnings.warn(
                "factor_init gives zeros only. There all gradients of the factors are zero, so training never changes "
                "them. Use small random numbers, as factor_init=None does.",
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
            A matrix, dense, sparse COO or sparse CSR. Or the columns of the entries, row after row, int32 or
            int64, (nnz,), as :class:`torch.nn.EmbeddingBag` takes them; with rows of the same length also
            (n_samples, length). Or the tuple ``(indices, offsets, values)``, of which the last two may be left out
            or None.
        offsets : Tensor of shape (n_samples,), default=None
            Where the entries of each row begin. None if the indices have two dimensions.
        values : Tensor of shape (nnz,) or (n_samples, length), default=None
            Values of the entries. None if all are one.

        Returns
        -------
        output : Tensor of shape (n_samples, 1)
            In the type of the parameters.
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
        form = Form(self.scale, self.subtract_self_interactions, self.sparse_grad)
        if torch.compiler.is_compiling() and self.sparse_grad and self._learns() and not is_exporting():
            return self._raw_beside_graph(input, offsets, values)
        entries = parse(input, offsets, values, self.n_features)
        if isinstance(entries, Tensor):
            return dense_raw(entries, factors, linear, form, binary=binary)
        if torch.compiler.is_compiling() or factors.device.type == "meta":
            return traced_raw(entries, factors, linear, form, binary=binary)
        return sparse_raw(entries, factors, linear, form, binary=binary)

    def _learns(self) -> bool:
        tables = (self.factors, self.linear)
        return torch.is_grad_enabled() and any(t is not None and t.weight.requires_grad for t in tables)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _raw_beside_graph(self, input: Any, offsets: Tensor | None, values: Tensor | None) -> Tensor:
        """Return raw predictions outside of a compiled graph, in which torch can have no sparse gradients."""
        return self._raw(input, offsets, values)

    def regularization(self) -> Tensor:
        """Return what `factor_regularizer` gives for the factors, to be added to the loss.

        Returns
        -------
        penalty : Tensor of shape ()
            Zero without a regularizer. Its gradient is dense, whatever `sparse_grad`.
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
            ``(n_samples, n_features)`` of the matrix. ``n_samples`` may be None where it is not known.

        Returns
        -------
        shape : tuple
            ``(n_samples, 1)``.
        """
        if len(input_shape) != 2 or input_shape[1] != self.n_features:
            raise ValueError(
                f"input_shape must be (n_samples, n_features={self.n_features}), got {tuple(input_shape)}."
            )
        return input_shape[0], 1

    def extra_repr(self) -> str:
        """Return what `repr` shows.

        Returns
        -------
        shown : str
            The shape, and the settings that differ from the defaults.
        """
        shown = [f"n_features={self.n_features}", f"n_factors={self.n_factors}"]
        flags = {"sparse_grad": True, "binary_values": False, "subtract_self_interactions": True}
        shown += [
            f"{name}={not default}" for name, default in flags.items() if getattr(self, name) != default
        ]
        if self.scale == 1:
            # `half` itself is the name of a method of every module.
            shown.append("half=False")
        if self.bias is not None:
            shown.append("bias=True")
        if isinstance(self.activation, str):
            shown.append(f"activation={self.activation!r}")
        return ", ".join(shown)
