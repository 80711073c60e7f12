"""Layers, inputs and the formula as it is written, for the tests of the layer."""

import torch

from skfm.nn import FactorizationMachine

#: Rows without entries at the start, in the middle and at the end; unsorted columns; a stored zero; int32 on demand.
INDICES = [3, 0, 5, 2, 4, 1, 3, 0, 6]
STARTS = [0, 0, 3, 4, 4, 8, 9]
VALUES = [0.5, -1.2, 2.0, 0.7, 1.0, 0.0, -0.3, 1.5, -2.1]
N_FEATURES = 7


def triplet(dtype=torch.float64, index=torch.int64):
    return (
        torch.tensor(INDICES, dtype=index),
        torch.tensor(STARTS, dtype=index),
        torch.tensor(VALUES, dtype=dtype),
    )


def matrices(indices, starts, values, n_features, *, binary=False):
    """The same rows as a dense matrix of values, duplicates summed up, and as one of the stored places."""
    X = torch.zeros(len(starts), n_features, dtype=torch.float64)
    stored = torch.zeros_like(X)
    ends = [*starts.tolist(), len(indices)][1:]
    for i, (start, end) in enumerate(zip(starts.tolist(), ends, strict=True)):
        for e in range(start, end):
            X[i, indices[e]] += 1.0 if values is None else float(values[e])
            stored[i, indices[e]] = 1.0
    return stored if binary else X


def double_loop(layer, X, *, subtract=True, half=True):
    """The output of the layer, pair by pair, in operations that can be differentiated."""
    factors = layer.factors.weight
    out = []
    for x in X:
        total = factors.new_zeros(())
        for a in range(len(x)):
            for b in range(len(x)):
                if a != b or not subtract:
                    total = total + (factors[a] @ factors[b]) * x[a] * x[b] * (0.5 if half else 1.0)
        if layer.linear is not None:
            total = total + layer.linear.weight[:, 0] @ x
        if layer.bias is not None:
            total = total + layer.bias[0]
        out.append(total)
    return torch.stack(out)[:, None] if out else factors.new_zeros(0, 1)


def random_layer(n_features=N_FEATURES, n_factors=3, **options):
    """A layer whose parameters are all random, in float64."""
    options = {"dtype": torch.float64, **options}
    layer = FactorizationMachine(n_features, n_factors, **options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    return layer


def gradients(layer, output):
    """Gradients of a sum over the rows with unequal weights, dense, by name."""
    layer.zero_grad(set_to_none=True)
    if output.requires_grad:
        (output[:, 0] * torch.arange(1, len(output) + 1, dtype=output.dtype)).sum().backward()
    return {
        name: None if p.grad is None else p.grad.to_dense().clone() for name, p in layer.named_parameters()
    }
