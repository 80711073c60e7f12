"""Checkpoints of a long run: a file from which a killed run continues."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from .._files import replacing
from ..core.solvers import OnlineRun, Run, StateDict
from ..data.samples import Samples
from .digests import AnotherRunError, ChunkDigests, digest_of, digest_of_names, digest_of_samples
from .events import Ending, Events
from .history import History
from .scale_checks import check_units, split_units
from .state_checks import check_checkpoint, check_seed

#: Minimum number of seconds between checkpoints, and the minimum as a multiple of the time that writing one takes.
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
        The properties that two runs must share for one to continue the other, as JSON-serializable values.
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
        found = self._read(["json"])
        self._seed = default if found is None else found[1]["seed"]
        return self._seed

    def load(self) -> StateDict | None:
        """Return the tensors and numbers of an interrupted run, or None if there is none."""
        found = self._read()
        if found is None:
            return None
        arrays, numbers = found
        difference = first_difference(numbers["identity"], json.loads(json.dumps(self.identity)))
        if difference:
            raise self.of_another_run(difference)
        if numbers["seed"] != self._seed:
            raise self.of_another_run("another process has written it since this one has started")
        own = {"format", "seed", "identity"}
        try:
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        except (TypeError, ValueError) as error:  # types that torch does not have
            raise self.damaged(error) from error
        return StateDict(tensors, {name: value for name, value in numbers.items() if name not in own})

    def of_another_run(self, difference: str) -> AnotherRunError:
        """Return the error for a checkpoint of a run that differs from this one."""
        return AnotherRunError(f"{self.path} is the checkpoint of another run: {difference}. {ADVICE}")

    def damaged(self, error: Exception) -> ValueError:
        """Return the error for a file that is no valid checkpoint."""
        return ValueError(f"{self.path} is no checkpoint of skfm, or damaged: {error}. {ADVICE}")

    def _read(self, names: list[str] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return the arrays of these names, of all by default, and the numbers; None if there is no file."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return None
        try:
            with file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in names or archive.files}
            numbers = json.loads(bytes(arrays.pop("json")).decode())
            version, numbers["identity"] = numbers["format"], dict(numbers["identity"])
            check_seed(numbers["seed"])
        except Exception as error:  # a file of arbitrary content can raise any error
            raise self.damaged(error) from error
        if version != FORMAT:
            raise ValueError(f"{self.path} was written by another version of skfm. {ADVICE}")
        return arrays, numbers

    def save_if_due(self, state: Callable[[], StateDict]) -> None:
        """Write the state, unless the last one was written just now."""
        begun = time.monotonic()
        if begun - self._last < max(INTERVAL, PATIENCE * self._took):
            return
        self.save(*state())
        self._last = time.monotonic()
        self._took = self._last - begun

    def save(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Write the state. If that fails, the previous checkpoint stays and there is a warning."""
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
        """Delete the file, because the run has ended."""
        self.path.unlink(missing_ok=True)


class RunningUnits(Protocol):
    """Units that can change during a run."""

    def state_dict(self) -> StateDict:
        """Return the units, with names that a run does not use."""

    def load_state_dict(self, state: StateDict) -> None:
        """Continue with the units of another run, before its state is loaded."""


class CheckpointEvents(Events):
    """Loads the state of an interrupted run, and saves that of the current one from time to time.

    Parameters
    ----------
    checkpoint : Checkpoint
        A checkpoint with the identity of the current run.
    max_iter : int
        Maximum number of epochs.
    chunks : ChunkDigests or None
        The digests of the chunks of a stream.
    units : RunningUnits or None
        The units of a run on a stream.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        max_iter: int,
        chunks: ChunkDigests | None = None,
        units: RunningUnits | None = None,
    ) -> None:
        self._checkpoint, self._max_iter, self._chunks, self._units = checkpoint, max_iter, chunks, units

    def begin(self, run: Run, history: History) -> None:
        if not isinstance(run, OnlineRun):
            raise TypeError(f"{type(run).__name__} does not support checkpoints.")
        self._run, self._history = run, history
        found = self._checkpoint.load()
        if found is None:
            return
        try:
            found, units = split_units(found)
            if self._units is not None:
                check_units(units, self._units.state_dict())
            check_checkpoint(
                found,
                run,
                history.state_dict(),
                max_iter=self._max_iter,
                n_segments=1 if self._chunks is None else None,
            )
        except ValueError as error:
            raise self._checkpoint.damaged(error) from error
        if self._units is not None:
            self._units.load_state_dict(units)
        run.load_state_dict(found)
        iterate = run.iterate()
        history.load_state_dict(
            StateDict(found.tensors, found.numbers["record"]), like=iterate.parameters.intercept
        )
        if history.n_iter and not history.validation:
            history.keep(iterate)
        # Earlier versions of skfm did not store the digests.
        if self._chunks is not None and "chunks" in found.numbers:
            self._chunks.expect(found.numbers["chunks"])

    def after_segment(self, n_rows: int) -> None:
        self._checkpoint.save_if_due(self._state)

    def end(self, ending: Ending) -> None:
        if ending is Ending.COMPLETE:
            self._checkpoint.remove()
        elif ending is Ending.BETWEEN_SEGMENTS:
            self._checkpoint.save(*self._state())

    def _state(self) -> StateDict:
        """Return the state of run and history together."""
        run, history = self._run.state_dict(), self._history.state_dict()
        numbers = {**run.numbers, "record": history.numbers}
        if self._chunks is not None:
            numbers["chunks"] = self._chunks.state()
        tensors = {**run.tensors, **history.tensors}
        if self._units is not None:
            units = self._units.state_dict()
            tensors, numbers = {**tensors, **units.tensors}, {**numbers, **units.numbers}
        return StateDict(tensors, numbers)


#: Entries of the identity that are compared only if both runs have them: earlier versions of skfm did not store them,
#: and a run may not know them.
OPTIONAL = ("number of chunks", "digest of ", "select_factors", "noise")


def first_difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """Return how the identities of two runs differ, or "" if they are the same.

    Digests come last, because the other entries can be understood.
    """
    names = sorted(
        ours.keys() | theirs.keys(),
        key=lambda name: (name.startswith("digest of "), name != "estimator", name),
    )
    for name in names:
        found, expected = ours.get(name), theirs.get(name)
        if found == expected or (name.startswith(OPTIONAL) and None in (found, expected)):
            continue
        if name.startswith("digest of "):
            return f"there {name.removeprefix('digest of ')} were different"
        return f"there {name} was {expected}, here it is {found}"
    return ""


def identity_of(
    estimator: Any, samples: Samples, held_out: Samples | None, n_chunks: int | None = None
) -> dict[str, Any]:
    """Return what distinguishes a run from others: its parameters, its first samples and its validation samples."""
    # These may differ between a run and the one that continues it.
    free = {"checkpoint", "device", "random_state", "verbose", "warm_start"}
    parameters = {name: value for name, value in estimator.get_params().items() if name not in free}
    identity: dict[str, Any] = {name: repr(value) for name, value in parameters.items()}
    # The representation of a long array omits most of its elements.
    identity |= {
        f"digest of the values of {name}": digest_of(value)
        for name, value in parameters.items()
        if hasattr(value, "__array__")
    }
    identity["estimator"] = type(estimator).__name__
    identity["number of chunks"] = n_chunks
    identity["digest of the names of the columns or the labels"] = digest_of_names(estimator)
    for suffix, part in (("", samples), ("_val", held_out)):
        if part is not None:
            values = part.X.data if sparse.issparse(part.X) else part.X
            identity |= {
                f"shape of X{suffix}": list(part.X.shape),
                f"dtype of X{suffix}": str(part.X.dtype),
                f"sum of X{suffix}": float(np.sum(values, dtype=np.float64)),
                f"sum of y{suffix}": float(np.sum(part.y, dtype=np.float64)),
                f"sum of sample_weight{suffix}": float(np.sum(part.sample_weight, dtype=np.float64)),
                f"digest of the order or the values of X{suffix} and y{suffix}": digest_of_samples(part),
            }
    return identity
