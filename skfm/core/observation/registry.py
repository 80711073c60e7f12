"""All observation models, found in the modules of this folder.

To add one, write a module with its parts and an `ObservationModel`, and a test. Which losses the estimators and the
solvers take, how targets are checked, and how models are exported follow from the declarations.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from .base import ObservationModel
from .parts import MinibatchLoss


def _found() -> dict[str, ObservationModel]:
    """Return the models that the modules of this folder define, in the order of their names."""
    folder = __name__.rpartition(".")[0]
    names = [info.name for info in pkgutil.iter_modules(importlib.import_module(folder).__path__)]
    models: dict[str, ObservationModel] = {}
    for name in sorted(set(names) - {"registry"}):
        for value in vars(importlib.import_module(f"{folder}.{name}")).values():
            if isinstance(value, ObservationModel) and models.setdefault(value.name, value) is not value:
                raise TypeError(f"Two observation models have the name {value.name!r}.")
    return dict(sorted(models.items()))


#: The models by the value of the public parameter `loss`, in the order of their names.
MODELS: dict[str, ObservationModel] = _found()


def find_model(loss: Any) -> ObservationModel | None:
    """Return the model of a loss, or None if a value of any type is not the name of a model."""
    return MODELS.get(loss) if isinstance(loss, str) else None


def losses_for(task: str) -> tuple[str, ...]:
    """Return the names of the losses for "regression" or "classification"."""
    return tuple(name for name, model in MODELS.items() if task in model.tasks)


def losses_with(part: str) -> frozenset[str]:
    """Return the names of the losses that have a part, "loss", "quadratic" or "latent"."""
    return frozenset(name for name, model in MODELS.items() if getattr(model, part) is not None)


def loss_parameters() -> dict[str, float]:
    """Return the public parameters that only some losses read, with their defaults."""
    return {name: default for model in MODELS.values() for name, default in model.parameters.items()}


def make_loss(name: str, n_outputs: int = 1, /, **parameters: float) -> MinibatchLoss:
    """Return the minibatch loss of a name: see `ObservationModel.make_loss`."""
    return MODELS[name].make_loss(n_outputs, **parameters)
