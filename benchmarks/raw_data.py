"""Five-fold scores on raw data that are included in scikit-learn, with the default settings of every model.

    python benchmarks/raw_data.py

myfm does not have scikit-learn's interface and is only used for regression, so it appears only with the first data set.
"""

import os
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import modern_fm
import numpy as np
import torch
from myfm import MyFMRegressor
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict, cross_val_score

from skfm import FMClassifier, FMRegressor


def label(model):
    """Return the package and the class of a model."""
    return f"{type(model).__module__.split('.')[0]} {type(model).__name__}"


def main():
    """Print one line per data set and model."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the other libraries raise some
    X, y = load_diabetes(return_X_y=True, scaled=False)
    models = (
        FMRegressor(random_state=0),
        Ridge(),
        HistGradientBoostingRegressor(random_state=0),
        modern_fm.FMRegressor(random_state=0),
    )
    for model in models:
        start = time.process_time()
        score = cross_val_score(model, X, y, cv=5).mean()
        print(f"diabetes       {label(model):36} R2 {score:.3f}  {time.process_time() - start:6.1f} s")
    scores = []
    for train, test in KFold(5).split(X):
        peer = MyFMRegressor(rank=4).fit(sparse.csr_matrix(X[train]), y[train])
        scores.append(r2_score(y[test], peer.predict(sparse.csr_matrix(X[test]))))
    print(f"diabetes       {'myfm MyFMRegressor(rank=4)':36} R2 {np.mean(scores):.3f}")
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for name, load in (("breast_cancer", load_breast_cancer), ("digits", load_digits)):
        X, y = load(return_X_y=True)
        models = (
            FMClassifier(random_state=0),
            LogisticRegression(max_iter=10_000),
            HistGradientBoostingClassifier(random_state=0),
            modern_fm.FMClassifier(random_state=0),
        )
        for model in models:
            start = time.process_time()
            p = cross_val_predict(model, X, y, cv=folds, method="predict_proba")
            print(
                f"{name:14} {label(model):36} accuracy {accuracy_score(y, p.argmax(1)):.3f}  "
                f"log loss {log_loss(y, p):.3f}  {time.process_time() - start:6.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
