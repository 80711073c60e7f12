"""Columns of dates and durations, which are not exported."""

from __future__ import annotations

from ..data.dates import SECONDS
from ..data.frames import FrameEncoder


def refuse_times(encoder: FrameEncoder | None) -> None:
    """Raise a NotImplementedError if a model was fitted to dates or durations."""
    if encoder is None or encoder.parts is None:
        return
    for name, entry in zip(encoder.names, encoder.parts, strict=True):
        if entry["part"] is not None:
            what = "durations" if entry["part"] == SECONDS else "dates"
            raise NotImplementedError(
                f"Column {name!r} is derived from a column of {what}, which cannot be exported: ONNX has no type for "
                "them. Before the fit, replace the column by numbers or categories, such as the days since the first "
                "date and the weekday."
            )
