"""The loss of a run over its steps, drawn by matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from train.types import TrainProgress

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES, _DPI = (8.0, 3.4), 120
_LOSS, _EVALUATION = "#0969da", "#bf8700"


def draw_curve(
    progress: Sequence[TrainProgress], *, eval_loss: float | None = None, form: Literal["svg", "png"]
) -> bytes:
    """Draw the loss by step; reports without a loss leave a gap.

    Args:
        progress: The reports, by step; the evaluation losses that some of them have are dots.
        eval_loss: Loss on the evaluation rows at the end, drawn as a dashed line.
        form: The picture's format; an SVG keeps its words as text.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "loss", "svg.fonttype": "none", "font.size": 9}):
        drawing = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
        axes = drawing.subplots()
        if any(math.isfinite(each.loss) for each in progress):
            _draw(axes, progress, eval_loss=eval_loss)
        else:
            axes.text(0.5, 0.5, "no loss reported", ha="center", va="center", transform=axes.transAxes)
        axes.set_xlabel("step")
        axes.set_ylabel("loss, nats per token")
        axes.grid(alpha=0.3)
        written = io.BytesIO()
        drawing.savefig(written, format=form, metadata={"Date": None} if form == "svg" else {"Software": None})
    return written.getvalue()


def _draw(axes: Axes, progress: Sequence[TrainProgress], *, eval_loss: float | None) -> None:
    losses = [each.loss if math.isfinite(each.loss) else math.nan for each in progress]
    axes.plot([each.step for each in progress], losses, color=_LOSS, linewidth=1.5, marker=".", gid="loss")
    measured = [
        (each.step, each.eval_loss) for each in progress if each.eval_loss is not None and math.isfinite(each.eval_loss)
    ]
    if measured:
        axes.plot(*zip(*measured, strict=True), "o", color=_EVALUATION, label="evaluation")
    if eval_loss is not None and math.isfinite(eval_loss):
        axes.axhline(eval_loss, color=_EVALUATION, linestyle="--", label=f"evaluation at the end {eval_loss:.3f}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
