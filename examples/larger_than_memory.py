"""
A file larger than memory
=========================

This example fits the same model from a text file, chunk by chunk, and from a matrix in memory. The memory for the
chunks does not grow with the size of the file.

The files of this example have 10 and 30 MB, so that it runs quickly. The user guide describes :doc:`streams
</user_guide/streaming>` in more detail, and the benchmarks use a file of 4 GB. The example needs Linux or macOS to
measure memory.
"""

# %%
# Files of simulated clicks
# -------------------------
#
# The files have the svmlight format. Each line contains whether there was a click, and one category of each of twelve
# fields.

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.datasets import dump_svmlight_file

n_fields, n_features, n_rows = 12, 24_000, 20_000
rng = np.random.default_rng(0)
weights, vectors = rng.normal(0, 0.3, n_features), rng.normal(0, 0.25, (n_features, 3))


def rows():
    """Return some rows of clicks."""
    n_categories = n_features // n_fields
    chosen = (n_categories * rng.random((n_rows, n_fields)) ** 3).astype(np.int32)
    columns = chosen + n_categories * np.arange(n_fields, dtype=np.int32)
    sums, squares = vectors[columns].sum(axis=1), (vectors[columns] ** 2).sum(axis=1)
    log_odds = weights[columns].sum(axis=1) - 1 + (sums**2 - squares).sum(axis=1) / 2
    y = (rng.random(n_rows) < 1 / (1 + np.exp(-log_odds))).astype(int)
    parts = np.ones(columns.size), columns.ravel(), np.arange(0, columns.size + 1, n_fields)
    return csr_matrix(parts, shape=(n_rows, n_features)), y


def write(path, megabytes):
    """Write rows until the file has the given size."""
    with path.open("wb") as file:
        while file.tell() < megabytes << 20:
            dump_svmlight_file(*rows(), file, zero_based=True)


folder = tempfile.TemporaryDirectory()
sizes = [10, 30]
for megabytes in sizes:
    write(Path(folder.name) / f"{megabytes}.svm", megabytes)
write(Path(folder.name) / "test.svm", 3)

# %%
# The training program
# --------------------
#
# The peak memory of a process never decreases, so each fit runs in a process of its own. The following program fits a
# model from a stream of chunks or from a matrix. The stream has a checkpoint, from which the program would resume if
# it were run again after a crash.

program = Path(folder.name) / "train.py"
program.write_text("""
import json, resource, sys, time
from pathlib import Path
import numpy as np
from sklearn.datasets import load_svmlight_file
from sklearn.metrics import log_loss
from skfm import FMClassifier
from skfm.streaming import SvmlightChunks

how, train, test = sys.argv[1:]
options = {"n_features": 24_000, "zero_based": True, "dtype": np.float32}

def peak():
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, where getrusage includes the peak of the parent process
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

model = FMClassifier(solver="adagrad", max_iter=2, batch_size=2048, random_state=0)
before, start = peak(), time.perf_counter()
if how == "chunks":
    chunks = SvmlightChunks(train, chunk_bytes=2 << 20, classes=[0, 1], **options)
    model.set_params(checkpoint=train + ".checkpoint").fit(chunks)
else:
    model.fit(*load_svmlight_file(train, **options))
seconds, memory = time.perf_counter() - start, peak() - before
X, y = load_svmlight_file(test, **options)
loss = log_loss(y, model.predict_proba(X)[:, 1].astype(float))
print(json.dumps({"peak memory, MB": memory, "fit seconds": seconds, "log loss": loss}))
""")


def run(how, megabytes):
    """Run the program and return its results."""
    files = [str(Path(folder.name) / f"{name}.svm") for name in (megabytes, "test")]
    command = [sys.executable, str(program), how, *files]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


# %%
# Memory and loss
# ---------------
#
# The table shows the peak memory in addition to that of the imports.

table = pd.DataFrame({(how, size): run(how, size) for how in ("chunks", "matrix") for size in sizes}).T
table.index.names = ["fitted from", "MB of the file"]
print(table.round({"peak memory, MB": 0, "fit seconds": 1, "log loss": 4}))
folder.cleanup()

# %%
# The losses are the same. The stream parses the text in every epoch, which takes most of its time; for the matrix, the
# text is parsed only once.

figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
for how, color in (("matrix", "tab:gray"), ("chunks", "tab:orange")):
    axes.plot(sizes, table.loc[how, "peak memory, MB"], "o-", color=color, label=how)
axes.set_ylim(bottom=0)
axes.set_xlabel("size of the file, MB")
axes.set_ylabel("peak memory, MB")
axes.legend(title="fitted from")
plt.show()
