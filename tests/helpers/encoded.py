"""Encoded categories, alone and next to numeric columns, and targets that an FM explains."""

import numpy as np
from scipy import sparse
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def one_hot(n_samples=120, sizes=(6, 5), seed=0, dtype=np.float64):
    """One-hot encoded categories, as a CSR matrix."""
    rng = np.random.default_rng(seed)
    codes = np.column_stack([rng.integers(0, size, n_samples) for size in sizes])
    codes[: max(sizes)] = np.arange(max(sizes))[:, None] % sizes
    return OneHotEncoder(dtype=dtype).fit_transform(codes)


def mixed(n_samples=120, seed=0, dtype=np.float64):
    """Two numeric columns, far from zero, next to one-hot encoded ones."""
    rng = np.random.default_rng(seed)
    numeric = rng.standard_normal((n_samples, 2)) * [3, 0.1] + [100, -5]
    return sparse.csr_matrix(sparse.hstack([numeric, one_hot(n_samples, seed=seed)]), dtype=dtype)


def plant(X, n_classes=None, seed=1, noise=0.3):
    """A target that an FM explains: numbers, or labels of ``n_classes``."""
    rng = np.random.default_rng(seed)
    Z = StandardScaler().fit_transform(X.toarray())
    outputs = []
    for _ in range(n_classes or 1):
        V = rng.standard_normal((Z.shape[1], 2)) * 0.7
        outputs.append(Z @ rng.standard_normal(Z.shape[1]) + ((Z @ V) ** 2 - Z**2 @ V**2).sum(1) / 2)
    raw = np.array(outputs) + noise * rng.standard_normal((len(outputs), len(Z)))
    if n_classes is None:
        return 10 * raw[0] + 50
    return (raw[0] > np.median(raw[0])).astype(int) if n_classes == 2 else raw.argmax(0)
