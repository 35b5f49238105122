"""Figures as pictures: one consistent style, and no name of a client in any of them.

An SVG takes its colours from the page's colour scheme, light or dark; a PNG is for paper and mail.
"""

import base64
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# an SVG of many points can outgrow the picture of it
LARGEST_SVG = 150_000
PNG_DPI = 150
# roles of colours: what is drawn, and what a reader with a dark screen sees instead
INK, MUTED, LINE, ACCENT = "#1d2530", "#566070", "#d5dae1", "#2f5f8f"
DARK = {INK: "#e6e9ee", MUTED: "#a3adba", LINE: "#3a4350", ACCENT: "#7fb2e5"}
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.linewidth": 0.8,
    "grid.linewidth": 0.7,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9,
    "lines.linewidth": 1.3,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.edgecolor": LINE,
    "grid.color": LINE,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "svg.hashsalt": "attrition",
}
# the matrix keeps to light blues with one dark ink, whatever the scheme: readable in every cell
CELL_INK, LIGHT_BLUES = "#0f2238", {"vmin": 0.0, "vmax": 1.8}
# of the normal distribution: for intervals that hold 95 % of the time
Z95 = 1.959964


@dataclass(frozen=True)
class Picture:
    """A figure ready for a page: a data URI, what it says for who cannot see it, and how to read it."""

    uri: str
    alt: str
    reading: str


def confusion_matrix(confusion: Mapping[str, int], threshold: float) -> "Figure":
    """Counts of test rows by what happened and what was predicted; each cell also in % of its row."""
    import numpy as np
    from sklearn.metrics import ConfusionMatrixDisplay

    counts = np.array(
        [
            [confusion["true_negative"], confusion["false_positive"]],
            [confusion["false_negative"], confusion["true_positive"]],
        ]
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with _style("white"):
        figure = _figure(4.6, 4.1)
        axes = figure.subplots()
        display = ConfusionMatrixDisplay(shares, display_labels=["stayed", "left"])
        ink = {"color": CELL_INK, "fontsize": 11}
        display.plot(ax=axes, colorbar=False, cmap="Blues", im_kw=LIGHT_BLUES, text_kw=ink)
        for row, column in np.ndindex(2, 2):
            share = f"{100 * shares[row, column]:.0f}% of row"
            display.text_[row, column].set_text(f"{counts[row, column]:,}\n{share}")
        axes.set_title(f"Confusion matrix: {_rows(int(counts.sum()))}")
        axes.set_xlabel(f"predicted, at a threshold of {100 * threshold:.0f}%")
        axes.set_ylabel("what happened")
        axes.grid(False)
    return figure


def confusion_picture(confusion: Mapping[str, int], threshold: float) -> Picture:
    caught, missed = confusion["true_positive"], confusion["false_negative"]
    needless, spared = confusion["false_positive"], confusion["true_negative"]
    alt = (
        f"Confusion matrix. Left: {caught:,} predicted, {missed:,} missed. "
        f"Stayed: {spared:,} predicted, {needless:,} flagged needlessly."
    )
    calls = (
        f"{needless / caught:.1f} needless calls for each leaver caught" if caught else "no leaver is caught"
    )
    reading = f"At this threshold, {calls}, and {missed:,} of {caught + missed:,} leavers are missed."
    return picture(confusion_matrix(confusion, threshold), alt, reading)


def calibration(bins: Sequence[Mapping[str, float]]) -> "Figure":
    """Predicted against observed share of leavers of each bin, with its 95 % interval, and the rows in it."""
    places = range(len(bins))
    predicted = [100 * b["predicted"] for b in bins]
    observed = [100 * b["observed"] for b in bins]
    ends = [wilson(b["observed"], b["count"]) for b in bins]
    reach = [
        [max(0.0, share - 100 * low) for share, (low, _) in zip(observed, ends, strict=True)],
        [max(0.0, 100 * high - share) for share, (_, high) in zip(observed, ends, strict=True)],
    ]
    with _style("whitegrid"):
        figure = _figure(4.6, 4.1)
        axes = figure.subplots()
        axes.errorbar(
            places, observed, reach, fmt="o", color=ACCENT, capsize=3, label="left, with 95% interval"
        )
        axes.plot(places, predicted, "D", color=MUTED, fillstyle="none", markersize=7, label="predicted")
        axes.set_xticks(places, [f"{int(b['count']):,}" for b in bins])
        axes.grid(False, axis="x")
        axes.set(xlim=(-0.6, len(bins) - 0.4), ylim=(0, None), ylabel="% of the rows in the group")
        axes.set_xlabel("rows in the group, from the lowest probability to the highest")
        axes.set_title(f"Calibration: {_rows(sum(int(b['count']) for b in bins))}")
        axes.legend(frameon=False, loc="upper left")
    return figure


def calibration_picture(bins: Sequence[Mapping[str, float]]) -> Picture:
    steps = (
        f"{100 * b['predicted']:.0f}% predicted, {100 * b['observed']:.0f}% left ({_rows(int(b['count']))})"
        for b in bins
    )
    reading = "Where a bar holds its diamond, the probabilities of that group can be taken at their word."
    return picture(calibration(bins), f"Calibration. {'; '.join(steps)}.", reading)


def ingestions(
    times: Sequence[str], read: Sequence[int], rejected: Sequence[int], seconds: Sequence[float]
) -> "Figure":
    """Strips of bars over the same runs, the newest last; the greatest value of each is written beside it."""
    shares = [_percent(bad, rows) for bad, rows in zip(rejected, read, strict=True)]
    strips = (
        ("rows read", read, f"{max(read):,}"),
        ("rejected, % of rows read", shares, f"{max(shares):.1f}%"),
        ("time", seconds, _seconds(max(seconds))),
    )
    with _style("white"):
        figure = _figure(4.6, 2.7)
        for axes, (title, values, most) in zip(figure.subplots(3, sharex=True), strips, strict=True):
            axes.bar(range(len(values)), values, width=0.7, color=ACCENT, linewidth=0)
            axes.set_title(title, fontsize=9.5, fontweight="normal", color=MUTED, pad=4)
            axes.set(ylim=(0, max(*values, 1e-9)), xlim=(-0.6, max(len(values), 8) - 0.4))
            axes.set_yticks([max(values)], [most])
            axes.spines[["top", "left", "right"]].set_visible(False)
        ends = axes.set_xticks([0, len(times) - 1], [_minute(times[0]), _minute(times[-1])])
        for tick, side in zip(ends, ("left", "right"), strict=True):
            tick.label1.set_horizontalalignment(side)
    return figure


def ingestions_picture(
    times: Sequence[str], read: Sequence[int], rejected: Sequence[int], seconds: Sequence[float]
) -> Picture:
    steps = (
        f"{_minute(time)} {rows:,} read, {_percent(bad, rows):.1f}% rejected, {_seconds(took)}"
        for time, rows, bad, took in zip(times, read, rejected, seconds, strict=True)
    )
    alt = f"Ingestions, the newest last. {'; '.join(steps)}."
    reading = "One bar a run, the newest last. The figure beside a strip is its greatest value."
    return picture(ingestions(times, read, rejected, seconds), alt, reading)


def wilson(share: float, count: float) -> tuple[float, float]:
    """Interval of 95 % around a share of so many; Wilson, Probable inference (JASA 1927)."""
    middle = share + Z95**2 / (2 * count)
    half = Z95 * math.sqrt(share * (1 - share) / count + Z95**2 / (4 * count**2))
    return (middle - half) / (1 + Z95**2 / count), (middle + half) / (1 + Z95**2 / count)


def png(figure: "Figure") -> bytes:
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def svg(figure: "Figure") -> bytes:
    """Transparent, in the colours of the reader's scheme; the same figure gives the same bytes."""
    stream = BytesIO()
    with _style("white"):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue().decode()
    light = "".join(f"--c{role[1:]}:{role};" for role in DARK)
    dark = "".join(f"--c{role[1:]}:{colour};" for role, colour in DARK.items())
    for role in DARK:
        text = text.replace(f": {role}", f": var(--c{role[1:]})")
    scheme = f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    head, tag, body = text.partition("<defs>")
    return f"{head}<style>{scheme}</style>{tag}{body}".encode()


def picture(figure: "Figure", alt: str, reading: str) -> Picture:
    drawn, kind = svg(figure), "svg+xml"
    if len(drawn) > LARGEST_SVG:
        drawn, kind = png(figure), "png"
    return Picture(f"data:image/{kind};base64,{base64.b64encode(drawn).decode()}", alt, reading)


def _minute(time: str) -> str:
    return f"{time[:10]} {time[11:16]}"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.2g} s"


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def _rows(count: int) -> str:
    return f"{count:,} test row{'' if count == 1 else 's'}"


def _figure(width: float, height: float) -> "Figure":
    """A figure of its own, in inches: nothing of pyplot's to be closed."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


@contextmanager
def _style(name: str) -> Iterator[None]:
    import matplotlib

    # no screen is needed; and "building the font cache" is no news for the mail that cron sends
    matplotlib.use("Agg")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import seaborn

    style: Any = {**seaborn.axes_style(name), **seaborn.plotting_context("paper"), **STYLE}
    with matplotlib.rc_context(style):
        yield
