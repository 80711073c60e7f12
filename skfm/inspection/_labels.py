"""Placement of the labels of points so that no label covers another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: Distances in points between a label and its point, nearest first, and the number of directions that are tried.
DISTANCES, N_DIRECTIONS = (2, 6, 12, 20, 30, 42, 56), 16
#: Distance from which a line connects a label with its point, and the space between two labels, both in points.
LINE_FROM, GAP = 12, 1


def place_labels(ax: Any, points: np.ndarray, labels: Sequence[str], fontsize: float) -> list[Any]:
    """Annotate points. Each label is placed at the free place that is nearest to its point, inside of the figure.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes whose limits, title and axis labels are final.
    points : ndarray of shape (n_points, 2)
        Points in the order in which their labels are placed.
    labels : sequence of str of length n_points
    fontsize : float

    Returns
    -------
    texts : list of matplotlib Annotation or None
        None for the labels that find no free place.
    """
    root = ax.figure.figure
    # A layout such as "constrained" moves the axes only when the figure is drawn.
    root.draw_without_rendering()
    scale = root.dpi / 72
    angles = 2 * np.pi * (np.arange(N_DIRECTIONS) + 1) / N_DIRECTIONS
    directions = np.column_stack([np.cos(angles), np.sin(angles)])
    taken: np.ndarray = np.zeros((0, 4))
    texts: list[Any] = []
    for point, label, at in zip(points, labels, ax.transData.transform(points), strict=True):
        text = ax.annotate(
            label, point, (0, 0), textcoords="offset points", fontsize=fontsize, ha="center", va="center"
        )
        extent = text.get_window_extent()
        half = np.array([extent.width, extent.height]) / 2
        place = None
        for distance in DISTANCES:
            centers = at + directions * (half + distance * scale)
            boxes = np.hstack([centers - half, centers + half])
            free = _is_inside(boxes, root.bbox) & ~_overlap(boxes, taken, GAP * scale).any(1)
            if free.any():
                place = int(np.argmax(free))
                break
        if place is None:
            text.remove()
            texts.append(None)
            continue
        taken = np.vstack([taken, boxes[place]])
        text.set_position((centers[place] - at) / scale)
        if distance >= LINE_FROM:
            ends = np.array(
                [point, ax.transData.inverted().transform(at + directions[place] * distance * scale)]
            )
            ax.plot(*ends.T, color="gray", linewidth=0.5, scalex=False, scaley=False, zorder=0)
        texts.append(text)
    return texts


def _is_inside(boxes: np.ndarray, outer: Any) -> np.ndarray:
    """Return a mask of the boxes (x0, y0, x1, y1) that are inside of a box of matplotlib."""
    least, most = np.array([outer.x0, outer.y0]), np.array([outer.x1, outer.y1])
    return np.all((boxes[:, :2] >= least) & (boxes[:, 2:] <= most), axis=1)


def _overlap(boxes: np.ndarray, others: np.ndarray, gap: float) -> np.ndarray:
    """Return which boxes (x0, y0, x1, y1) are nearer than a gap to which others, (n_boxes, n_others)."""
    a, b = boxes[:, None], others[None]
    return np.all((a[..., :2] < b[..., 2:] + gap) & (b[..., :2] < a[..., 2:] + gap), axis=2)
