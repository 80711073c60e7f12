"""Peak memory of a fit in addition to the data: 1e6 rows, 2e5 columns, 2e7 non-zeros, float32, 8 factors.

    python benchmarks/memory.py [--rows 1000000]

Each fit runs in a process of its own. The difference between its peak resident size and the size with the data loaded
must not depend on the number of sweeps.
"""

import argparse
import os
import subprocess
import sys
import time

CHILD = """
import resource, sys, time
import numpy as np, torch
from scipy import sparse
from skfm import FMRegressor
torch.set_num_threads(1)
rows, sweeps, values = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rng = np.random.default_rng(0)
n_fields, size = 20, 10_000
# The columns are generated as small integers, so that generating the data takes no more memory than the data.
indices = np.empty((rows, n_fields), np.int32)
for field in range(n_fields):
    indices[:, field] = rng.integers(0, size, rows, dtype=np.int32)
    indices[:, field] += field * size
data = np.ones(indices.size, np.float32)
if values == "numbers":
    for start in range(0, len(data), 1 << 20):
        data[start : start + (1 << 20)] += rng.random(len(data[start : start + (1 << 20)]), np.float32)
indptr = np.arange(0, indices.size + 1, n_fields, dtype=np.int32)
X = sparse.csr_matrix((data, indices.ravel(), indptr), shape=(rows, n_fields * size))
y = rng.standard_normal(rows, dtype=np.float32)
now = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, start = now(), time.process_time()
FMRegressor(8, max_iter=sweeps, tol=0).fit(X, y)
size_of_data = (X.data.nbytes + X.indices.nbytes + X.indptr.nbytes) / 2**20
print(f"{values}, {sweeps} sweeps: data {size_of_data:.0f} MiB, before the fit {before:.0f} MiB, "
      f"peak {now():.0f} MiB, above {now() - before:.0f} MiB, {time.process_time() - start:.1f} CPU s", flush=True)
"""


def main():
    """Run the fits one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for values, sweeps in (("ones", 1), ("ones", 4), ("numbers", 1)):
        command = [sys.executable, "-c", CHILD, str(args.rows), str(sweeps), values]
        start = time.perf_counter()
        subprocess.run(command, check=True, env=environment)
        print(f"    {time.perf_counter() - start:.0f} s in total", flush=True)


if __name__ == "__main__":
    main()
