"""Checks of a stored state of a minibatch run: every number is checked as strictly as its shape.

Checkpoints and model files hold such states. A file can pass its checksum and still hold anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.solvers import OnlineRun, StateDict
from ..core.solvers.minibatch.run import RETRIES

#: Upper limit of all counts.
MAX_COUNT = 2**62
#: Seeds are passed to numpy, which takes integers below this number.
MAX_SEED = 2**32
#: The parameters of the best epoch.
KEPT = ("kept_0", "kept_1", "kept_2")
#: Entries that are divided by, or are the precision of a prior.
POSITIVE = frozenset({"precision", "precision_start"})
#: Entries that count batches.
COUNTS = frozenset({"held", "visits"})


def check_entry(name: str, values: Any, shape: tuple[int, ...], signed: frozenset[str]) -> None:
    """Raise a ValueError unless an entry is an array of floats of this shape whose numbers are possible.

    Parameters
    ----------
    name : str
    values : object
    shape : tuple of int
    signed : frozenset of str
        Names of the entries that may be negative.
    """
    if not isinstance(values, np.ndarray) or values.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} must be an array of float32 or float64")
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, but this model requires {shape}")
    if np.isnan(values).any():
        raise ValueError(f"{name} contains NaN")
    # Sums of squared gradients can overflow, which stops the parameters of that column.
    is_sum = "slot_" in name and name not in signed
    if not is_sum and np.isinf(values).any():
        raise ValueError(f"{name} contains values that are not finite")
    if name in signed or name in KEPT:
        return
    if (values < 0).any() or (name in POSITIVE and (values == 0).any()):
        raise ValueError(
            f"{name} contains values that are {'not positive' if name in POSITIVE else 'negative'}"
        )
    if name in COUNTS and (values != np.floor(values)).any():
        raise ValueError(f"{name} contains counts that are not whole numbers")


def check_seed(value: Any) -> None:
    """Raise a ValueError unless a value is a seed."""
    _count("seed", value, most=MAX_SEED - 1)


def check_names(name: str, found: Any, expected: Any) -> None:
    """Raise a ValueError unless a dict has exactly the given keys."""
    if type(found) is not dict or found.keys() != set(expected):
        raise ValueError(f"{name} must be a dict with the keys {sorted(expected)}")


def check_numbers(found: Any, fresh: Mapping[str, Any]) -> None:
    """Raise a ValueError unless the numbers of a run are possible.

    Parameters
    ----------
    found : object
        The ``numbers`` of the state.
    fresh : mapping
        Those of a run at its start.
    """
    check_names("the state of the run", found, fresh)
    n_batches, n_pass = _count("n_batches", found["n_batches"]), found["pass_batches"]
    if n_pass is not None and _count("pass_batches", n_pass) > n_batches:
        raise ValueError(f"pass_batches={n_pass} is more than n_batches={n_batches}")
    _count("next_update", found["next_update"], least=1)
    run = found["run"]
    check_names("run", run, fresh["run"])
    for name in ("epoch", "segment"):
        _count(name, run[name])
    if run["n_segments"] is not None:
        _count("n_segments", run["n_segments"])
    # A run that has failed is one beyond the last attempt.
    _count("retries", run["retries"], most=RETRIES + 1)
    _float("base", run["base"], can_be_infinite=True)
    totals = run["totals"]
    if type(totals) is not list or len(totals) != 2:
        raise ValueError("totals must be a list of two numbers")
    _float("totals", totals[0])
    if _float("totals", totals[1]) < 0:
        raise ValueError(f"the sum of the weights must not be negative, got {totals[1]!r}")


def check_counts(tensors: Mapping[str, np.ndarray], n_batches: int) -> None:
    """Raise a ValueError if a column was in more batches than there were."""
    for name in sorted(COUNTS & tensors.keys()):
        if tensors[name].max(initial=0) > n_batches:
            raise ValueError(f"{name} contains counts that are larger than n_batches={n_batches}")


def check_history(found: Any, fresh: Mapping[str, Any], epoch: int) -> None:
    """Raise a ValueError unless the numbers of a history are those of ``epoch`` epochs.

    Parameters
    ----------
    found : object
        The ``numbers`` of its state.
    fresh : mapping
        Those of a history at its start, in which the objective comes first.
    epoch : int
    """
    check_names("record", found, fresh)
    history = found["history"]
    check_names("history", history, fresh["history"])
    for name, values in history.items():
        if type(values) is not list or len(values) != epoch:
            raise ValueError(f"the history of {name} must be a list of {epoch} numbers, one for each epoch")
        if not all(type(value) is float for value in values):
            raise ValueError(f"the history of {name} must hold only numbers")
    objective, *validation = (history[name] for name in fresh["history"])
    if not all(map(math.isfinite, objective)):
        raise ValueError("the objective must be finite in each epoch")
    best = _count("best", found["best"], most=max(0, epoch - 1))
    kept = found["kept"]
    if not validation or not epoch:
        if kept is not None:
            raise ValueError(f"there must be no best epoch, got {kept!r}")
        return
    if best != _best_of(validation[0]) or kept != objective[best]:
        raise ValueError("the best epoch is not that of the lowest validation loss")


def check_digests(found: Any) -> None:
    """Raise a ValueError unless these are the digests of the chunks of a stream."""
    check_names("chunks", found, ["digests", "n_chunks"])
    digests, n_chunks = found["digests"], found["n_chunks"]
    if type(digests) is not list or not all(type(pair) is list and len(pair) == 2 for pair in digests):
        raise ValueError("the digests must be a list of pairs of a number and a digest")
    numbers = [_count("the number of a chunk", number) for number, _ in digests]
    if numbers != sorted(set(numbers)) or not all(type(digest) is str for _, digest in digests):
        raise ValueError("the digests must be those of increasing numbers of chunks")
    if n_chunks is not None and numbers and _count("n_chunks", n_chunks, least=1) <= numbers[-1]:
        raise ValueError(f"there are digests of more than n_chunks={n_chunks} chunks")


def check_checkpoint(
    found: StateDict, run: OnlineRun, history: StateDict, *, max_iter: int, n_segments: int | None
) -> None:
    """Raise a ValueError unless a run and its history can continue from the state in a checkpoint.

    Parameters
    ----------
    found : StateDict
        The state of both, with the numbers of the history as its entry "record".
    run : OnlineRun
        The run at its start.
    history : StateDict
        The state of the history at its start.
    max_iter : int
        Number of epochs of the run.
    n_segments : int or None
        Number of segments of an epoch, None if it is that in the digests of the chunks.
    """
    fresh, (tensors, numbers) = run.state_dict(), found
    check_names("the numbers", {**numbers, "chunks": None}, {*fresh.numbers, "record", "chunks"})
    check_numbers({name: numbers[name] for name in fresh.numbers}, fresh.numbers)
    epoch = numbers["run"]["epoch"]
    if epoch >= max_iter:
        raise ValueError(f"epoch={epoch} is not less than max_iter={max_iter}")
    _check_passes(numbers, n_segments)
    check_history(numbers["record"], history.numbers, epoch)
    shapes = {name: tuple(tensor.shape) for name, tensor in fresh.tensors.items()}
    if numbers["record"]["kept"] is not None:
        shapes |= {name: tuple(part.shape) for name, part in zip(KEPT, run.iterate().parameters, strict=True)}
    check_names("the tensors", tensors, shapes)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    for name, shape in shapes.items():
        check_entry(name, arrays[name], shape, run.signed_tensors)
    check_counts(arrays, numbers["n_batches"])


def _check_passes(numbers: dict[str, Any], n_segments: int | None) -> None:
    """Raise a ValueError unless the numbers of batches and segments match the number of epochs."""
    run, n_batches, n_pass = numbers["run"], numbers["n_batches"], numbers["pass_batches"]
    epoch = run["epoch"]
    if (n_pass is None) != (epoch == 0):
        raise ValueError(f"pass_batches={n_pass!r} does not match epoch={epoch}")
    # After a step back, some of the batches are not counted.
    if n_pass is not None and run["retries"] == 0 and not n_pass * epoch <= n_batches <= n_pass * (epoch + 1):
        raise ValueError(f"n_batches={n_batches} does not match pass_batches={n_pass} and epoch={epoch}")
    if "chunks" in numbers:
        check_digests(numbers["chunks"])
        n_segments = numbers["chunks"]["n_chunks"]
    found, segment = run["n_segments"], run["segment"]
    if (found is None) != (epoch == 0):
        raise ValueError(f"n_segments={found!r} does not match epoch={epoch}")
    if any(limit is not None and segment > limit for limit in (found, n_segments)):
        raise ValueError(f"segment={segment} is more than the number of segments")
    if None not in (found, n_segments) and found != n_segments:
        raise ValueError(
            f"n_segments={found} does not match the number of segments of the data, {n_segments}"
        )


def _count(name: str, value: Any, *, least: int = 0, most: int = MAX_COUNT) -> int:
    """Return a value if it is an integer in the given range, else raise a ValueError."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} must be an integer from {least} to {most}, got {value!r}")
    return value


def _float(name: str, value: Any, *, can_be_infinite: bool = False) -> float:
    """Return a value if it is a number that is possible, else raise a ValueError."""
    if type(value) not in (float, int) or not (
        math.isfinite(value) or (can_be_infinite and value == math.inf)
    ):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return value


def _best_of(losses: list[float]) -> int:
    """Return the number of the first lowest loss, as a history finds it: comparisons with NaN are false."""
    best = 0
    for number, loss in enumerate(losses):
        if loss < losses[best]:
            best = number
    return best
