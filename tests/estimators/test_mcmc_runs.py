"""Runs of the Gibbs sampler: warm starts, and fits that come to nothing."""

from types import SimpleNamespace

import numpy as np
import pytest

from skfm import FMRegressor
from skfm.core.solvers import Iterate
from skfm.datasets import make_factorization
from skfm.training.history import History

X, Y = make_factorization(150, (6, 5), n_factors=2, noise=1.0, random_state=0)


def sampler(**options):
    return FMRegressor(
        2, **{"solver": "mcmc", "select_factors": False, "max_iter": 60, "random_state": 0, **options}
    )


def test_a_warm_start_never_draws_the_same_numbers_again():
    model = sampler(warm_start=True).fit(X, Y)
    # Runs of as many sweeps: from the same numbers they would go up and down together, wherever they start.
    noise = [model.fit(X, Y).posterior_.noise_std[0] for _ in range(3)]
    assert np.abs(np.corrcoef(noise)[np.triu_indices(3, 1)]).max() < 0.6


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, MemoryError])
def test_a_fit_that_ends_before_its_first_sweep_leaves_the_model_as_it_was(trouble, monkeypatch):
    model = sampler(max_iter=5).fit(X, Y)
    before = dict(vars(model))

    def fail(self, after_segment):
        raise trouble

    monkeypatch.setattr("skfm.core.solvers.mcmc.MCMCRun.step", fail)
    with pytest.raises(trouble):
        model.fit(X, -Y)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is before[name] for name in before)


def test_neither_burn_in_nor_a_few_draws_stop_a_run():
    record = History("log_likelihood", validated=True)
    # A draw of the burn-in was good by chance, and then the average gets better slowly.
    for i, loss in enumerate([0.1, *np.linspace(2, 1, 39), *[1.5] * 5]):
        assert not record.stale(5)
        draws = SimpleNamespace(n_seen=i + 1, burn_in=4, is_warm=i >= 4)
        record.add(Iterate(None, 0.0, draws=draws), loss)
    assert record.stale(5)


def test_a_sampler_makes_twenty_sweeps_after_its_burn_in():
    model = sampler(early_stopping=True, n_iter_no_change=1, burn_in=5, max_iter=300)
    n_iter = [model.set_params(random_state=seed).fit(X, Y).n_iter_ for seed in range(3)]
    assert min(n_iter) >= 25
    assert max(n_iter) < 300
