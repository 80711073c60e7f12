"""Every tensor that the package makes names its type and its device, so that the defaults of torch have no effect."""

import ast
from pathlib import Path

import torch
from torch.utils._device import _device_constructors

import skfm

ROOT = Path(skfm.__file__).parent
#: Functions of torch that make a tensor on the default device.
CONSTRUCTORS = {function.__name__ for function in _device_constructors()}
#: Those whose default type, for the arguments here, is that of `torch.get_default_dtype`.
FLOATING = {"empty", "eye", "full", "linspace", "logspace", "ones", "rand", "randn", "zeros"}


def made_by_default(tree):
    """The line and the missing arguments of every call that makes a tensor by the defaults of torch."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        name, owner = node.func.attr, node.func.value
        if not (isinstance(owner, ast.Name) and owner.id == "torch" and name in CONSTRUCTORS):
            continue
        given = {keyword.arg for keyword in node.keywords}
        wanted = {"device", "dtype"} if name in FLOATING else {"device"}
        # A dictionary of keywords is taken to name them.
        if None not in given and wanted - given:
            yield node.lineno, name, sorted(wanted - given)


def test_tensors_name_their_type_and_device():
    paths = sorted(ROOT.rglob("*.py"))
    found = {
        str(path.relative_to(ROOT)): list(made_by_default(ast.parse(path.read_text()))) for path in paths
    }
    assert {path: calls for path, calls in found.items() if calls} == {}


def test_the_check_sees_what_it_should():
    source = "torch.zeros(2)\ntorch.arange(3)\ntorch.tensor(1.0, device='cpu')\ntorch.ones(2, **place)"
    found = list(made_by_default(ast.parse(source)))
    assert found == [(1, "zeros", ["device", "dtype"]), (2, "arange", ["device"])]
    assert torch.zeros in _device_constructors()
