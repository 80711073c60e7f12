"""Forward and backward pass of the layer, compared with autograd of common formulas: CPU seconds and peak memory.

    python benchmarks/layer.py [--rows 65536] [--entries 39] [--features 1000000] [--factors 16] [--skewed]

All versions have a linear term and use sparse gradients, float32 and one thread. The results are medians of seven runs,
with each version in a process of its own. Memory is the peak resident size in addition to that of the process with data
and parameters. The common formulas are

* bags: one EmbeddingBag computes the sums, and another one the sums of the squared table, whose gradient is dense;
* gather: a row of factors is fetched for each entry. The sparse gradient contains a column as often as it occurs.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch.nn.functional import embedding, embedding_bag

from skfm.nn import FactorizationMachine


def bags(layer, indices, offsets, values):
    """Compute sums and sums of squares with two bags."""
    factors, linear = layer.factors.weight, layer.linear.weight
    options = {"mode": "sum", "per_sample_weights": values}
    sums = embedding_bag(indices, factors, offsets, sparse=True, **options)
    options["per_sample_weights"] = values.square()
    squares = embedding_bag(indices, factors.square(), offsets, **options)
    options["per_sample_weights"] = values
    terms = embedding_bag(indices, linear, offsets, sparse=True, **options)
    return terms + (sums.square() - squares).sum(1, keepdim=True) / 2


def gather(layer, indices, offsets, values):
    """Fetch a row of factors for each entry. All rows have the same number of entries."""
    length = len(indices) // len(offsets)
    x = values.view(-1, length, 1)
    rows = embedding(indices.view(-1, length), layer.factors.weight, sparse=True) * x
    terms = (embedding(indices.view(-1, length), layer.linear.weight, sparse=True) * x).sum(1)
    return terms + (rows.sum(1).square() - rows.square().sum(1)).sum(1, keepdim=True) / 2


VERSIONS = {"layer": lambda layer, *batch: layer(*batch), "bags": bags, "gather": gather}


def measure(version, args):
    """Print the seconds, the memory and the output of one version."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    layer = FactorizationMachine(args.features, args.factors, linear=True)
    # Each row has one column of each field. The columns of a field are scattered as if they were hashed.
    size = args.features // args.entries
    draws = torch.rand(args.rows, args.entries, generator=generator)
    if args.skewed:
        draws = (size**draws - 1) / (size - 1)
    indices = (draws * size).long().clamp_(max=size - 1).add_(torch.arange(args.entries) * size).view(-1)
    indices = torch.randperm(args.features, generator=generator)[indices]
    offsets = torch.arange(0, len(indices), args.entries)
    values = torch.rand(len(indices), generator=generator)
    del draws
    layer.factors.weight.data.normal_(generator=generator)
    forward, seconds, peak = VERSIONS[version], [], 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for repeat in range(8):
        layer.zero_grad(set_to_none=True)
        start = time.process_time()
        output = forward(layer, indices, offsets, values)
        output.square().sum().backward()
        if repeat:  # the first run is a warm-up
            seconds.append(time.process_time() - start)
        if not repeat:
            peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    gradient = layer.factors.weight.grad
    total = float(gradient.to_dense().square().sum())
    print(json.dumps([statistics.median(seconds), peak, float(output.detach().square().sum()), total]))


def main():
    """Run all versions and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=65_536)
    parser.add_argument("--entries", type=int, default=39)
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--factors", type=int, default=16)
    parser.add_argument("--skewed", action="store_true", help="columns of unequal frequency")
    parser.add_argument("--version", choices=VERSIONS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.version:
        measure(args.version, args)
        return
    found = {}
    for version in VERSIONS:
        command = [sys.executable, __file__, *sys.argv[1:], "--version", version]
        found[version] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    own_seconds, own_peak, *own_sums = found["layer"]
    for version, (seconds, peak, *sums) in found.items():
        same = max(abs(a / b - 1) for a, b in zip(sums, own_sums, strict=True))
        print(
            f"{version:7s} {seconds:6.3f} CPU s, {seconds / own_seconds:5.1f} times the layer's; peak {peak:6.0f} MiB, "
            f"the layer takes {own_peak / max(peak, 0.1):4.2f} of it; outputs and gradients within {same:.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
