"""Fetchers of public datasets, and a generator of synthetic data."""

from skfm.datasets._factorization import make_factorization
from skfm.datasets._movielens import fetch_movielens
from skfm.datasets._tables import fetch_adult, fetch_bike_sharing

__all__ = ["fetch_adult", "fetch_bike_sharing", "fetch_movielens", "make_factorization"]
