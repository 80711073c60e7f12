"""Run examples as plain scripts, each in a process of its own, and print the time of each.

    python docs/run_examples.py examples/quickstart.py [more scripts]

The plots of a script are saved as build/NAME.png, build/NAME-2.png and so on. An example whose data are missing is
skipped: see docs/gallery.py.
"""

import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

from gallery import missing_data

PLOTS = Path("build")
# The fits are small, and several threads would slow them down on a busy machine.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"} | dict(os.environ)


def run_here(script):
    """Run a script in this process and save its plots."""
    runpy.run_path(str(script), run_name="__main__")
    if "matplotlib.pyplot" not in sys.modules:
        return
    import matplotlib.pyplot as plt

    PLOTS.mkdir(exist_ok=True)
    for number in plt.get_fignums():
        path = PLOTS / f"{script.stem}{f'-{number}' if number > 1 else ''}.png"
        plt.figure(number).savefig(path, dpi=120)
        print(f"\nPlot: {path}")


def main(scripts):
    failed = []
    for script in scripts:
        missing = missing_data(script)
        if missing is not None:
            print(f"=== {script}: skipped, it needs {missing} in the folder that SKFM_DATA names", flush=True)
            continue
        print(f"=== {script}", flush=True)
        start = time.perf_counter()
        command = [sys.executable, __file__, "--here", script]
        code = subprocess.run(command, env=ENVIRONMENT, check=False).returncode
        print(
            f"=== {script}: {'ok' if code == 0 else 'FAILED'}, {time.perf_counter() - start:.1f} s\n",
            flush=True,
        )
        if code:
            failed.append(script)
    return f"Failed: {', '.join(failed)}" if failed else None


if __name__ == "__main__":
    if sys.argv[1] == "--here":
        run_here(Path(sys.argv[2]))
    else:
        sys.exit(main(sys.argv[1:]))
