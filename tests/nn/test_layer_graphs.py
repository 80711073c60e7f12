"""The layer in traced graphs, in several processes, and in mixed precision."""

import os
import shutil
from datetime import timedelta

import pytest
import torch
from torch import distributed, multiprocessing
from torch.testing import assert_close

from skfm.nn import FactorizationMachine
from tests.helpers.layers import N_FEATURES, gradients, matrices, random_layer, triplet

# The compiler and the copies of gradients between processes make sparse tensors in their own way.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled"),
    # So does the compiler with gradients where a graph goes on after a break.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    # And it uses what torch deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit.script"),
    # And it speaks of its own settings.
    pytest.mark.filterwarnings("ignore:Skipping serialization of skipfiles_inline_module_allowlist"),
]

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler on a CPU"
)
torch_tells_exporting = hasattr(torch.compiler, "is_exporting")


def with_duplicates():
    indices, starts, values = triplet()
    indices = indices.clone()
    indices[5] = indices[6]  # row 4
    return indices, starts, values


@needs_compiler
@pytest.mark.torch_graphs
@pytest.mark.parametrize(
    ("sparse", "rows"), [(True, "triplet"), (False, "triplet"), (False, "dense"), (True, "coo")]
)
def test_compiled(sparse, rows):
    """Same output and gradients; dense gradients in one graph, sparse ones beside it."""
    torch._dynamo.reset()
    input = with_duplicates() if rows == "triplet" else matrices(*with_duplicates(), N_FEATURES)
    input = input.to_sparse_coo() if rows == "coo" else input
    layer = random_layer(linear=True, bias=True, sparse_grad=sparse)
    expected = layer(input)
    wanted = gradients(layer, expected)
    compiled = torch.compile(layer, fullgraph=not sparse)
    output = compiled(input)
    assert_close(output, expected, rtol=1e-12, atol=1e-12)
    found = gradients(layer, output)
    # torch 2.6 does not tell exporting from compiling, and an exported graph has no place for sparse gradients.
    assert layer.factors.weight.grad.is_sparse == (sparse and (rows == "coo" or torch_tells_exporting))
    for name in wanted:
        assert_close(found[name], wanted[name], rtol=1e-12, atol=1e-12)


@pytest.mark.torch_graphs
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("strict", [True, False])
def test_exported(binary, strict):
    """An exported program takes other numbers of rows and entries, with a column twice or not."""
    layer = random_layer(linear=True, bias=True, binary_values=binary, activation="sigmoid")
    many = torch.export.Dim.DYNAMIC
    program = torch.export.export(layer, triplet(), dynamic_shapes=({0: many},) * 3, strict=strict)
    assert not any("skfm" in str(node.target) for node in program.graph.nodes)
    other = (
        torch.tensor([1, 2, 2, 6, 1, 2, 1]),
        torch.tensor([0, 0, 4]),
        torch.randn(7, dtype=torch.float64),
    )
    for rows in (triplet(), other):
        assert_close(program.module()(*rows), layer(*rows), rtol=1e-12, atol=1e-12)
    X = matrices(*triplet(), N_FEATURES)
    program = torch.export.export(layer, (X,), dynamic_shapes=({0: many},), strict=strict)
    assert_close(program.module()(X[:3]), layer(X[:3]), rtol=1e-12, atol=1e-12)


def test_sparse_tensors_are_not_exported():
    layer = random_layer()
    X = matrices(*triplet(), N_FEATURES).to_sparse_coo()
    with pytest.raises(TypeError, match="Pass a triplet"):
        torch.export.export(layer, (X,), strict=False)


def test_without_storage():
    """On the meta device shapes are worked out, and nothing else."""
    layer = FactorizationMachine(10**12, 64, linear=True, device="meta")
    indices = torch.empty(8, dtype=torch.int64, device="meta")
    assert layer(indices, torch.empty(5, dtype=torch.int64, device="meta")).shape == (5, 1)


def step(layer, rows):
    """Learn from some rows of one length."""
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer((rows, None)).square().mean().backward()
    optimizer.step()


def in_a_process(_, rank, rows, path):
    # They meet in a file: no port has to be free.
    meeting = f"file://{path}/meeting"
    distributed.init_process_group(
        "gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(minutes=2)
    )
    torch.set_num_threads(1)
    for sparse in (True, False):
        layer = random_layer(linear=True, bias=True, sparse_grad=sparse)
        step(torch.nn.parallel.DistributedDataParallel(layer), rows[rank::2])
        torch.save(layer.state_dict(), f"{path}/{rank}{sparse}")
    distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_available(), reason="this torch has no distributed package")
def test_two_processes(tmp_path):
    """A step of two processes is one with all of their rows."""
    rows = torch.tensor([[0, 1, 2], [3, 1, 2], [4, 4, 0], [1, 3, 5]])
    # This process is the other one.
    context = multiprocessing.spawn(in_a_process, (1, rows, str(tmp_path)), nprocs=1, join=False)
    in_a_process(0, 0, rows, str(tmp_path))
    assert context.join()
    for sparse in (True, False):
        layer = random_layer(linear=True, bias=True, sparse_grad=sparse)
        before = layer.factors.weight.detach().clone()
        step(layer, rows)
        assert not torch.equal(layer.factors.weight, before)
        for rank in range(2):
            found = torch.load(tmp_path / f"{rank}{sparse}", weights_only=True)
            for name, value in layer.state_dict().items():
                assert_close(found[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", ["triplet", "dense"])
def test_autocast(rows):
    """The layer keeps the precision of its parameters, forward and backward, beside layers that lose theirs."""
    indices, starts, values = triplet(torch.float32)
    input = (indices, starts, values)
    if rows == "dense":
        input = matrices(*input, N_FEATURES).float()
    layer = random_layer(linear=True, bias=True, dtype=torch.float32)
    expected = layer(input)
    wanted = gradients(layer, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16
        output = layer(input)
    assert output.dtype == torch.float32
    assert torch.equal(output, expected)
    for name, gradient in gradients(layer, output).items():
        assert torch.equal(gradient, wanted[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows", ["triplet", "dense"])
def test_half_precision(dtype, rows):
    """Sums are made in float32: rows of one column have no interactions, to the last digit of the result."""
    layer = random_layer(linear=True, dtype=dtype)
    wide = random_layer(linear=True, dtype=torch.float32)
    wide.load_state_dict(layer.state_dict())
    indices, starts, values = triplet(dtype)
    input = (indices, starts, values)
    if rows == "dense":
        input = matrices(*input, N_FEATURES).to(dtype)
    given = input.float() if rows == "dense" else (indices, starts, values.float())
    output, expected = layer(input), wide(given)
    assert output.dtype == dtype
    assert torch.equal(output, expected.to(dtype))
    for name, gradient in gradients(layer, output).items():
        assert gradient.dtype == dtype
        wanted = gradients(wide, wide(given))[name]
        assert_close(gradient.float(), wanted, rtol=2 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)
