"""Checkpoints of a long run: a file that a killed run goes on from."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._files import replacing

#: Seconds between checkpoints at least, and how many times longer than writing one takes.
INTERVAL, PATIENCE = 30.0, 20.0
FORMAT = 1
ADVICE = "Delete the file to start anew, or pass another path."


class Checkpoint:
    """A file with the latest state of a run.

    It is a numpy archive without pickles. A new one replaces the old one in a single step, when it is
    completely on the disk: whenever the run is killed, the file is a whole checkpoint.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    identity : dict
        What two runs have to have in common for one to go on from the other, as JSON can hold it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.identity: dict[str, Any] = {}
        self._seed = 0
        self._last, self._took = time.monotonic(), 0.0
        parent = self.path.absolute().parent
        if self.path.is_dir():
            raise ValueError(f"checkpoint={str(path)!r} is a folder. Name a file in it.")
        if not parent.is_dir():
            raise ValueError(
                f"checkpoint={str(path)!r} is in a folder that does not exist. Make {str(parent)!r}, or name a file "
                "in another one."
            )

    def seed(self, default: int) -> int:
        """Return the seed of the interrupted run, or that of a new one if there is none."""
        self._seed = self._read(["json"])[1]["seed"] if self.path.exists() else default
        return self._seed

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the tensors and numbers of an interrupted run, None if there is none."""
        if not self.path.exists():
            return None
        arrays, numbers = self._read()
        theirs, ours = numbers["identity"], json.loads(json.dumps(self.identity))
        for name in sorted(ours.keys() | theirs.keys(), key=lambda name: (name != "estimator", name)):
            if ours.get(name) != theirs.get(name):
                raise ValueError(
                    f"{self.path} is the checkpoint of another run: there {name} was {theirs.get(name)}, here "
                    f"it is {ours.get(name)}. {ADVICE}"
                )
        return {name: torch.from_numpy(array) for name, array in arrays.items()}, numbers

    def _read(self, names: list[str] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays of these names, of all by default, and the numbers."""
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in names or archive.files}
            numbers = json.loads(bytes(arrays.pop("json")).decode())
            version, numbers["identity"] = numbers["format"], dict(numbers["identity"])
            numbers["seed"] = int(numbers["seed"])
        except Exception as error:  # what a file of any content may lead to
            raise ValueError(
                f"{self.path} is no checkpoint of skfm, or damaged: {error}. {ADVICE}"
            ) from error
        if version != FORMAT:
            raise ValueError(f"{self.path} was written by another version of skfm. {ADVICE}")
        return arrays, numbers

    def save_if_due(self, state: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]]) -> None:
        """Write the state, unless the last one was written just now."""
        begun = time.monotonic()
        if begun - self._last < max(INTERVAL, PATIENCE * self._took):
            return
        self.save(*state())
        self._last = time.monotonic()
        self._took = self._last - begun

    def save(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Write the state. If that fails, the checkpoint before stays, and the run goes on with a warning."""
        text = json.dumps({**numbers, "format": FORMAT, "seed": self._seed, "identity": self.identity})
        arrays: dict[str, Any] = {name: tensor.numpy(force=True) for name, tensor in tensors.items()}
        arrays["json"] = np.frombuffer(text.encode(), np.uint8)
        try:
            with replacing(self.path) as partial, partial.open("wb") as file:
                np.savez(file, **arrays)
        except OSError as error:
            kept = "The one before it is still valid." if self.path.exists() else "There is none yet."
            warnings.warn(f"A checkpoint could not be written to {self.path}: {error}. {kept}", stacklevel=2)

    def remove(self) -> None:
        """Delete the file: the run is over."""
        self.path.unlink(missing_ok=True)
