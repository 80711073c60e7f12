"""Raw predictions of classifiers."""

from skfm.fitted.cache import predictor


def raw_scores(model, X):
    """Return the means of the raw predictions over the posterior, in the shape of the decision function.

    The decision function of "vb" and "mcmc" is derived from averaged probabilities instead.
    """
    raw = predictor(model).raw(model.encode(X)).numpy()
    return raw[0] if len(raw) == 1 else raw.T
