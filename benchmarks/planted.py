"""Simulated data with the size and structure of click logs, for the benchmarks."""

import numpy as np
from scipy import sparse


def clicks(rows, columns, *, fields=20, rank=4, noise=0.0, seed=42):
    """Return X (CSR, float32), y (0 or 1) and the log loss of the true probabilities.

    The categories of every field follow Zipf's law with exponent 1.1, and the sizes of the fields span three orders of
    magnitude. The raw prediction is that of a factorization machine: the linear term has a standard deviation of 1, and
    the interactions have one of 0.8. ``noise`` is the standard deviation of the part that no column explains.
    """
    rng = np.random.RandomState(seed)
    share = np.geomspace(1, 2000, fields)
    sizes = np.maximum(2, (share / share.sum() * columns).astype(int))
    sizes[-1] += columns - sizes.sum()
    first = np.concatenate([[0], np.cumsum(sizes)])
    index = np.empty((rows, fields), np.int32)
    for field, size in enumerate(sizes):
        cumulated = np.cumsum(np.arange(1, size + 1) ** -1.1)
        rank_drawn = np.searchsorted(cumulated / cumulated[-1], rng.rand(rows)).clip(0, size - 1)
        index[:, field] = rng.permutation(size)[rank_drawn] + first[field]
    w = rng.randn(columns) / np.sqrt(fields)
    V = rng.randn(columns, rank) * (0.8**2 / (rank * fields * (fields - 1) / 2)) ** 0.25
    raw = np.empty(rows)
    for start in range(0, rows, 100_000):
        part = index[start : start + 100_000]
        factors = V[part]
        raw[start : start + 100_000] = w[part].sum(1) + 0.5 * (factors.sum(1) ** 2 - (factors**2).sum(1)).sum(
            1
        )
    raw += noise * rng.randn(rows)
    p = 1 / (1 + np.exp(-raw))
    y = (rng.rand(rows) < p).astype(float)
    data = np.ones(index.size, np.float32)
    X = sparse.csr_matrix((data, index.ravel(), np.arange(0, index.size + 1, fields)), shape=(rows, columns))
    X.sort_indices()
    return X, y, float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)))
