"""
Recommending films to a user
============================

This example predicts which films a user will like best among those not yet rated, and finds similar films. The data are
a DataFrame of ratings with the genres of the films.

.. note:: This example needs MovieLens-100K, which :func:`skfm.datasets.fetch_movielens` downloads.
"""

# %%
# The data
# --------
#
# Identifiers are numbers that stand for categories, so they are converted to the type "category". The genres of a film
# are stored in a single string.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import root_mean_squared_error
from sklearn.neighbors import NearestNeighbors

from skfm import FMRegressor
from skfm.datasets import fetch_movielens
from skfm.inspection import EmbeddingDisplay

movielens = fetch_movielens("100k", as_frame=True)
films = movielens.movies
titles = films["title"].to_dict()
X = pd.DataFrame(
    {
        "user": movielens.data["user"].astype("category"),
        "film": movielens.data["item"].map(titles).astype("category"),
        "genres": movielens.data["item"].map(films["genres"].to_dict()),
    }
)
y = movielens.target
X.head(3)

# %%
# The model
# ---------
#
# ``multi_value_features`` gives the delimiter between the values of a row. The first of the official splits is used to
# measure the error of the predictions.

train, test = movielens.splits["u1"]
model = FMRegressor(n_factors=16, multi_value_features={"genres": "|"}, random_state=0)
error = root_mean_squared_error(
    y.iloc[test], model.fit(X.iloc[train], y.iloc[train]).predict(X.iloc[test]).clip(1, 5)
)
print(f"RMSE {error:.4f}; of the mean rating {y.iloc[test].std():.4f}")

# %%
# Recommendations
# ---------------
#
# The first table shows the favorite films of a user with fewer than forty ratings. The second table shows the
# recommendations of the model among all films with at least fifty ratings. The standard deviations quantify the
# uncertainty.

model.fit(X, y)
user = int(X["user"].value_counts().loc[lambda n: n < 40].index[0])
seen = X["film"][movielens.data["user"] == user]
liked = pd.DataFrame({"film": seen, "stars": y[seen.index]}).sort_values("stars", ascending=False)
liked.head(6)

# %%

known = X["film"].value_counts().loc[lambda n: n >= 50].index.difference(seen)
genres = dict(zip(films["title"], films["genres"], strict=True))
candidates = pd.DataFrame({"user": user, "film": known, "genres": [genres[film] for film in known]})
mean, std = model.predict(candidates, return_std=True)
best = candidates.assign(stars=mean, std=std).sort_values("stars", ascending=False)
best[["film", "genres", "stars", "std"]].head(8).round(2)

# %%
# Similar films
# -------------
#
# ``embedding`` returns the factors of the films. Films whose factors have a small angle between them are liked by the
# same users, in addition to the effect of their genres.

vectors = model.embedding("film").loc[X["film"].value_counts().loc[lambda n: n >= 100].index]
neighbors = NearestNeighbors(n_neighbors=5, metric="cosine").fit(vectors)
asked = ["Star Wars (1977)", "Toy Story (1995)", "Pulp Fiction (1994)"]
_, nearest = neighbors.kneighbors(vectors.loc[asked])
pd.DataFrame(vectors.index.to_numpy()[nearest[:, 1:]].T, columns=asked)

# %%
# The plot shows the plane of largest variation, with the names of the most popular films.

popular = X["film"].value_counts().index[:12]
display = EmbeddingDisplay.from_estimator(model, "film", labeled=list(popular))
spread = np.quantile(np.abs(display.points), 0.995, axis=0)
display.ax_.set(xlim=(-spread[0], spread[0]), ylim=(-spread[1], spread[1]))
plt.show()
