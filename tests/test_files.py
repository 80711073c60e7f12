"""Files appear only when they are complete, whoever else writes to the same path."""

import os
import secrets
import stat
import threading

import numpy as np
import pytest
import torch

from skfm import FMRegressor
from skfm._files import replacing, write_text
from skfm.io import (
    load_model,
    read_libfm_model,
    save_model,
    write_libffm,
    write_libfm_model,
    write_libsvm,
)
from skfm.training.checkpoint import Checkpoint

RNG = np.random.default_rng(0)
X, Y = RNG.integers(1, 5, (30, 4)).astype(float), RNG.normal(size=30)
MODEL = FMRegressor(2, solver="adagrad", max_iter=1, random_state=0).fit(X, Y)


def save_checkpoint(path, fill=0.0):
    Checkpoint(path).save({"theta": torch.full((20_000,), fill)}, {})


WRITERS = {
    "model": lambda path: save_model(MODEL, path),
    "libfm": lambda path: write_libfm_model(MODEL, path),
    "libsvm": lambda path: write_libsvm(X, Y, path),
    "libffm": lambda path: write_libffm(X, Y, [0, 0, 1, 1], path),
    "checkpoint": save_checkpoint,
    "text": lambda path: write_text(path, iter(["a line\n"])),
}
each_writer = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@each_writer
@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links")
def test_a_link_of_the_temporary_name_is_not_followed(write, tmp_path, monkeypatch):
    victim, other = tmp_path / "victim", tmp_path / "other"
    victim.write_text("mine")
    other.write_text("mine")
    names = ["0" * 16, "1" * 16, "2" * 16]
    for name, kind in (("file.partial", victim), (f"file.{names[0]}.partial", victim)):
        (tmp_path / name).symlink_to(kind)
    (tmp_path / f"file.{names[1]}.partial").hardlink_to(other)
    left = iter(names)
    monkeypatch.setattr(secrets, "token_hex", lambda n: next(left))
    write(tmp_path / "file")
    assert victim.read_text() == other.read_text() == "mine"
    assert (tmp_path / "file").stat().st_size > 0
    assert not (tmp_path / "file").is_symlink()
    # All that was there still is, and nothing else remains.
    assert len(list(tmp_path.iterdir())) == 6


@each_writer
def test_permissions_are_those_of_any_new_file(write, tmp_path):
    (tmp_path / "usual").write_text("")
    write(tmp_path / "file")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@each_writer
def test_long_names(write, tmp_path):
    for name in ("n" * 250, "\N{GREEK SMALL LETTER MU}" * 120):
        write(tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("kind", ["checkpoint", "model", "libfm", "libsvm"])
def test_writers_of_one_path_do_not_disturb_each_other(kind, tmp_path):
    path = tmp_path / "file"
    numbers = (1.0, 2.0)
    models = [FMRegressor(2, solver="adagrad", max_iter=1, random_state=0).fit(X, Y * n) for n in numbers]

    def write(number):
        if kind == "checkpoint":
            save_checkpoint(path, number)
        elif kind == "libsvm":
            write_libsvm(np.full((300, 4), number), np.zeros(300), path)
        else:
            {"model": save_model, "libfm": write_libfm_model}[kind](models[numbers.index(number)], path)

    def read():
        if kind == "checkpoint":
            return Checkpoint(path)._read()[0]["theta"]
        if kind == "libsvm":
            return path.read_bytes()
        return load_model(path).factors_ if kind == "model" else read_libfm_model(path).factors

    write(1.0)
    expected = []
    for number in numbers:
        write(number)
        expected.append(read())
    errors, ends = [], threading.Event()

    def keep_writing(number):
        while not ends.is_set():
            try:
                write(number)
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=keep_writing, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            found = read()
            assert any(np.array_equal(found, whole) for whole in expected)
    finally:
        ends.set()
        for thread in threads:
            thread.join()
    assert not errors
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_an_error_leaves_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")

    def fail():
        with replacing(path) as partial:
            partial.write_text("half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "before"


def test_a_checkpoint_that_another_process_writes_meanwhile(tmp_path):
    path = tmp_path / "run"
    ours, theirs = Checkpoint(path), Checkpoint(path)
    assert (ours.seed(1), theirs.seed(2)) == (1, 2)
    theirs.save({}, {})
    with pytest.raises(ValueError, match=r"checkpoint of another run: another process .* Delete the file"):
        ours.load()
    path.unlink()
    assert ours.load() is None
