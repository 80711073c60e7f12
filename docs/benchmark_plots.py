"""Plots of the tables in benchmarks.md, drawn at the start of the build.

The figures are read from the page itself, so a plot always agrees with its table.
"""

import re
from pathlib import Path

import matplotlib.pyplot as plt

PAGE = Path(__file__).with_name("benchmarks.md")
OURS, OTHERS = "tab:orange", "tab:gray"


def table(heading):
    """Return the rows of the first table under a heading as lists of cells, without the header."""
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    lines = [line for line in section[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def numbers(cell):
    """Return the numbers in a cell."""
    return [float(number) for number in re.findall(r"\d+\.?\d*", cell.replace(",", " "))]


def ratings():
    """Plot the seconds until the error of a hundred Gibbs sweeps is reached."""
    rows = table("MovieLens-1M: time to reach an error")
    figure, axes = plt.subplots(figsize=(6, 2.4), layout="constrained")
    for place, (n_factors, rmse, theirs, ours, *_) in enumerate(rows):
        for offset, name, cell, color in ((-0.2, "myFM", theirs, OTHERS), (0.2, "skfm, vb", ours, OURS)):
            seconds = numbers(cell)[0]
            bar = axes.barh(place + offset, seconds, 0.36, color=color, label=name if place == 0 else None)
            axes.bar_label(bar, [f"{seconds:g} s"], padding=3)
        rows[place] = f"{n_factors} factors,\nRMSE {rmse}"
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("CPU seconds to the error")
    axes.legend()
    return figure


def clicks():
    """Plot the log loss against time, for one to three epochs."""
    rows = table("Click logs: time per epoch, and time to reach a log loss")
    figure, panels = plt.subplots(
        2, len(rows) // 2, figsize=(6.4, 5), layout="constrained", sharex=True, sharey="row"
    )
    for axes, (case, ours, theirs, *_) in zip(panels.flat, rows, strict=True):
        columns, _, n_factors = case.rpartition(", ")
        values = numbers(ours)
        axes.plot(values[1::2], values[::2], "o-", color=OURS, label="skfm, 1 to 3 epochs")
        loss, seconds = numbers(theirs)[:2]
        axes.plot(seconds, loss, "s", color=OTHERS, label="modern-fm, best of nine")
        axes.set_title(f"{columns} columns, {n_factors} factors", fontsize="medium")
        axes.margins(0.12)
    # The limits are set last because setting them disables automatic scaling in all panels.
    panels.flat[0].set_xlim(left=0)
    figure.supxlabel("CPU seconds of the fit", fontsize="medium")
    figure.supylabel("log loss", fontsize="medium")
    figure.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def public_data():
    """Plot the loss of each model divided by that of the linear model."""
    rows = table("Public data with default settings")
    names = ("skfm, vb", "skfm, adagrad", "linear model", "HistGradientBoosting", "modern-fm")
    styles = {
        "skfm, vb": ("o", OURS),
        "skfm, adagrad": ("D", OURS),
        "HistGradientBoosting": ("^", "tab:green"),
        "modern-fm": ("s", OTHERS),
    }
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    axes.axvline(1, color="tab:gray", linewidth=0.8)
    labels = []
    for place, (label, *cells) in enumerate(rows):
        found = {name: numbers(cell)[:1] for name, cell in zip(names, cells, strict=True)}
        base = found["linear model"][0]
        labels.append(label)
        for name, (marker, color) in styles.items():
            if found[name]:
                axes.plot(
                    found[name][0] / base, place, marker, color=color, label=name if place == 0 else None
                )
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("loss or error, divided by that of the linear model")
    figure.legend(loc="outside upper center", ncols=4, fontsize="small")
    return figure


def draw(folder):
    """Save all plots in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for plot in (ratings, clicks, public_data):
        figure = plot()
        # Without the date the file is the same in every build.
        figure.savefig(folder / f"{plot.__name__}.svg", metadata={"Date": None})
        plt.close(figure)
