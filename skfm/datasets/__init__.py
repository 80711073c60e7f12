"""Rating data to learn from and planted factorization machines to test with."""

from skfm.datasets._factorization import make_factorization
from skfm.datasets._movielens import fetch_movielens

__all__ = ["fetch_movielens", "make_factorization"]
