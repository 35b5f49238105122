"""Figures as pictures: one consistent style, and no name of a client in any of them.

An SVG takes its colours from the page's colour scheme, light or dark; a PNG is for paper and mail.
"""

import base64
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    Part = Figure | SubFigure

    from attrition.trends import Course

# an SVG of many points can outgrow the picture of it
LARGEST_SVG = 150_000
# of an SVG
POINTS_AN_INCH = 72
# on paper, where a figure is some 9 cm wide
PNG_DPI = 130
# roles of colours: what is drawn, and what a reader with a dark screen sees instead
INK, MUTED, LINE, ACCENT, SECOND = "#1d2530", "#566070", "#d5dae1", "#2f5f8f", "#a8520a"
DARK = {INK: "#e6e9ee", MUTED: "#a3adba", LINE: "#3a4350", ACCENT: "#7fb2e5", SECOND: "#f0a35c"}
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
    # a dollar sign in a column's words is no formula
    "text.parse_math": False,
}
# what of seaborn's styles is followed: its colour map would be known to matplotlib after its import alone
FAMILIES = ("axes", "figure", "font", "grid", "legend", "lines", "patch", "xtick", "ytick")
# seaborn's styles by name, as far as it was asked: to import it costs as much as to draw several plots
STYLES: dict[str, Mapping[str, Any]] = {}
# the matrix keeps to light blues with one dark ink, whatever the scheme: readable in every cell
CELL_INK, LIGHT_BLUES = "#0f2238", {"vmin": 0.0, "vmax": 1.8}
# of the normal distribution: for intervals that hold 95 % of the time
Z95 = 1.959964
MOST_FEATURES = 10
# more points than these make a line of their own
MOST_MARKED = 30
MOST_STRIPS = 3
MOST_COLUMNS, COLUMNS_A_ROW = 12, 4
LONGEST_LABEL = 28
MISSING = "missing"
# with a greatest value so many times the middle one, all others would be squeezed into a corner
SKEWED = 10


@dataclass(frozen=True)
class Picture:
    """A figure ready for a page: a data URI, what it says for who cannot see it, and how to read it.

    `printed` is the same as a PNG for paper.
    """

    uri: str
    alt: str
    reading: str
    printed: bytes


@dataclass(frozen=True)
class Strip:
    """One line of a trend: a value for each run, and the greatest as it is written beside it."""

    title: str
    times: Sequence[str]
    values: Sequence[float]
    most: str


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


def precision_recall(
    curve: Mapping[str, Sequence[float]], average: float, rate: float, used: tuple[float, float]
) -> "Figure":
    """Precision over recall of each threshold, beside the share of leavers; `used` is (recall, precision)."""
    import numpy as np
    from sklearn.metrics import PrecisionRecallDisplay

    # the curve's last point is no threshold's: nobody is flagged, and all of them left
    precision, recall = np.array([*curve["precision"], 1.0]), np.array([*curve["recall"], 0.0])
    with _style("whitegrid"):
        figure = _figure(4.6, 4.1)
        axes = figure.subplots()
        display = PrecisionRecallDisplay(
            precision, recall, average_precision=average, prevalence_pos_label=rate
        )
        chance = {"color": MUTED, "linestyle": "--", "label": f"no skill ({rate:.2f})"}
        drawn = {"color": ACCENT, "linewidth": 1.8, "label": f"model (average precision {average:.2f})"}
        display.plot(axes, curve_kwargs=drawn, plot_chance_level=True, chance_level_kw=chance)
        axes.plot(*used, "D", color=SECOND, markersize=8, label="threshold in use")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="auto")
        axes.set(xlabel="recall: share of leavers who are flagged", ylabel="precision: share who left")
        axes.set_title("Precision and recall")
        axes.legend(frameon=False, loc="best")
    return figure


def precision_recall_picture(
    curve: Mapping[str, Sequence[float]], average: float, rate: float, confusion: Mapping[str, int]
) -> Picture:
    """`average` is the average precision, `rate` the share of leavers; the confusion is at the threshold."""
    flagged = confusion["true_positive"] + confusion["false_positive"]
    recall = confusion["true_positive"] / (confusion["true_positive"] + confusion["false_negative"])
    precision = confusion["true_positive"] / flagged if flagged else 1.0
    steps = "; ".join(
        f"recall {100 * r:.0f}%, precision {100 * p:.0f}%"
        for r, p in _spread(curve["recall"], curve["precision"])
    )
    alt = (
        f"Precision and recall over all thresholds, average precision {average:.2f}, no skill {rate:.2f}. "
        f"{steps}. "
        f"At the threshold in use: recall {100 * recall:.0f}%, precision {100 * precision:.0f}%."
    )
    reading = (
        "The further above the dashed line, the more of those flagged leave; "
        "the diamond is the threshold in use."
    )
    return picture(precision_recall(curve, average, rate, (recall, precision)), alt, reading)


def _spread(*columns: Sequence[float]) -> list[tuple[float, ...]]:
    """Up to six rows of columns that are read aloud, the first and the last included."""
    rows = list(zip(*columns, strict=True))
    return [rows[at * (len(rows) - 1) // 5] for at in range(6)] if len(rows) > 6 else rows


def lift(deciles: Sequence[Mapping[str, Any]]) -> "Figure":
    """Lift of each tenth of the rows with its 95 % interval, the likeliest first, beside no skill."""
    places = [each["decile"] for each in deciles]
    lifts = [each["lift"]["value"] for each in deciles]
    reach = [
        [each["lift"]["value"] - each["lift"]["low"] for each in deciles],
        [each["lift"]["high"] - each["lift"]["value"] for each in deciles],
    ]
    with _style("whitegrid"):
        figure = _figure(4.6, 4.1)
        axes = figure.subplots()
        axes.bar(places, lifts, width=0.7, color=ACCENT, linewidth=0, label="lift, with 95% interval")
        axes.errorbar(places, lifts, reach, fmt="none", ecolor=INK, capsize=3)
        axes.axhline(1, color=SECOND, linestyle="--", label="no skill: 1")
        axes.set_xticks(places)
        axes.grid(False, axis="x")
        axes.set(ylim=(0, None), ylabel="rate of leaving, times that of all")
        axes.set_xlabel("tenth of the test rows, the likeliest to leave first")
        axes.set_title(f"Lift: {_rows(sum(each['rows'] for each in deciles))}")
        axes.legend(frameon=False, loc="upper right")
    return figure


def lift_picture(deciles: Sequence[Mapping[str, Any]]) -> Picture:
    steps = (
        f"tenth {each['decile']}: {each['lift']['value']:.1f} "
        f"({each['lift']['low']:.1f} to {each['lift']['high']:.1f})"
        for each in deciles
    )
    first = deciles[0]
    reading = (
        f"Of the tenth that the model calls likeliest to leave, {first['lift']['value']:.1f} times as many "
        "left as of all; a list at random has 1 everywhere."
    )
    return picture(lift(deciles), f"Lift by tenth of the test rows. {'; '.join(steps)}.", reading)


def distribution(counts: Mapping[str, Sequence[float]], threshold: float) -> "Figure":
    """Probabilities of those who left above, of those who stayed below, in % of each group."""
    edges = [100 * edge for edge in counts["edges"]]
    groups = (("left", "left", ACCENT), ("stayed", "stayed", MUTED))
    with _style("whitegrid"):
        figure = _figure(4.6, 4.1)
        panels = figure.subplots(2, sharex=True, sharey=True)
        figure.suptitle(
            "Probability by outcome", x=0.02, ha="left", fontsize=11, fontweight="bold", color=INK
        )
        for axes, (key, word, colour) in zip(panels, groups, strict=True):
            shares = [_percent(int(count), int(sum(counts[key]))) for count in counts[key]]
            widths = [high - low for low, high in zip(edges, edges[1:], strict=False)]
            axes.bar(edges[:-1], shares, widths, align="edge", color=colour, edgecolor="none")
            axes.axvline(100 * threshold, color=SECOND, linestyle="--")
            title = f"{word}: {_rows(int(sum(counts[key])))}"
            axes.set_title(title, fontsize=9.5, fontweight="normal", color=MUTED, pad=4)
            axes.set(xlim=(0, 100), ylabel="% of them")
        axes.set_xlabel("probability of leaving, %; dashed: threshold")
    return figure


def distribution_picture(counts: Mapping[str, Sequence[float]], threshold: float) -> Picture:
    def told(key: str) -> str:
        all_rows, below = (
            int(sum(counts[key])),
            zip(counts["edges"], counts["edges"][1:], counts[key], strict=False),
        )
        steps = (f"{100 * low:.0f} to {100 * high:.0f}%: {int(n):,}" for low, high, n in below if n)
        return f"{_rows(all_rows)}: {', '.join(steps) or 'none'}"

    alt = (
        f"Probability by outcome, threshold {100 * threshold:.0f}%. "
        f"Left, {told('left')}. Stayed, {told('stayed')}."
    )
    reading = (
        "The less both shapes overlap, the better the model tells them apart; right of the dashes is flagged."
    )
    return picture(distribution(counts, threshold), alt, reading)


def drift(columns: Sequence[Mapping[str, Any]]) -> "Figure":
    """A small panel for each column: shares of the training rows, and of the new rows beside them."""
    shown = columns[:MOST_COLUMNS]
    across = min(COLUMNS_A_ROW, max(2, len(shown)))
    down = -(-len(shown) // across)
    with _style("white"):
        figure = _figure(2.35 * across, 0.8 + 1.5 * down)
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes, each in zip(panels, shown, strict=False):
            _then_and_now(axes, each)
        for axes in panels[len(shown) :]:
            axes.set_visible(False)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False)
        title = f"New rows beside training rows, % in each bin: {shown[0]['rows']:,} new"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    return figure


def _then_and_now(axes: "Axes", each: Mapping[str, Any]) -> None:
    places = range(len(each["bins"]))
    then, now = ([100 * share for share in each[side]] for side in ("then", "now"))
    axes.bar(
        [at - 0.2 for at in places], then, width=0.38, color=LINE, edgecolor=MUTED, label="training rows"
    )
    axes.bar([at + 0.2 for at in places], now, width=0.38, color=ACCENT, label="new rows")
    title = f"{_label(each['words'], 22)}: {each['level']}"
    weight = "normal" if each["level"] == "none" else "bold"
    axes.set_title(title, fontsize=9, fontweight=weight, color=INK, pad=4)
    axes.set_xticks([0, len(each["bins"]) - 1], [_end(each, 0), _end(each, -1)], fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _end(each: Mapping[str, Any], at: int) -> str:
    """The name of the first or the last bin."""
    name = each["bins"][at]
    if isinstance(name, str):
        return _label(name, 9)
    if name is None:
        return "higher"
    return f"to {_told(name)}"


def drift_picture(columns: Sequence[Mapping[str, Any]]) -> Picture:
    """`columns` as of attrition.beside, with `words` and the verdict's `level`, the gravest first."""
    shown = columns[:MOST_COLUMNS]
    steps = "; ".join(f"{_label(each['words'])}: {each['level']}, {_most_moved(each)}" for each in shown)
    others = len(columns) - len(shown)
    reading = (
        "Where both bars of each pair are alike, the column is as it was; the verdict is in the title."
        + (f" Other columns, less moved: {others:,}." if others else "")
    )
    return picture(drift(columns), f"New rows beside training rows, by column. {steps}.", reading)


def _most_moved(each: Mapping[str, Any]) -> str:
    then, now = each["then"], each["now"]
    at = max(range(len(then)), key=lambda place: abs(now[place] - then[place]))
    name = each["bins"][at]
    place = name if isinstance(name, str) else "highest bin" if name is None else f"bin up to {_told(name)}"
    return f"{_label(place)} {100 * then[at]:.0f}% then, {100 * now[at]:.0f}% now"


def trend(strips: Sequence[Sequence[Strip]], titles: Sequence[str]) -> "Figure":
    """Columns of strips of bars over runs, the newest last; the greatest value is written beside each."""
    with _style("white"):
        figure = _figure(4.6 * len(strips), 3.1)
        parts = figure.subfigures(1, len(strips), squeeze=False)[0]
        for part, title, column in zip(parts, titles, strips, strict=True):
            part.suptitle(title, x=0.02, ha="left", fontsize=11, fontweight="bold", color=INK)
            # a strip is as high in a short column as in a full one
            panels = part.subplots(MOST_STRIPS, squeeze=False)[:, 0]
            for axes, strip in zip(panels, column, strict=False):
                _strip(axes, strip)
            for axes in panels[len(column) :]:
                axes.set_visible(False)
    return figure


def _strip(axes: "Axes", strip: Strip) -> None:
    sides: list[Literal["left", "right"]] = ["left", "right"]
    values = strip.values
    axes.bar(range(len(values)), values, width=0.7, color=ACCENT, linewidth=0)
    axes.set_title(strip.title, fontsize=9.5, fontweight="normal", color=MUTED, pad=4)
    axes.set(ylim=(0, max(*values, 1e-9)), xlim=(-0.6, max(len(values), 8) - 0.4))
    axes.set_yticks([max(values)], [strip.most])
    axes.spines[["top", "left", "right"]].set_visible(False)
    ends = axes.set_xticks(
        [0, len(values) - 1], [_minute(strip.times[0]), _minute(strip.times[-1])], fontsize=8
    )
    for tick, side in zip(ends, sides, strict=True):
        tick.label1.set_horizontalalignment(side)


def trend_picture(
    ingested: Sequence[Mapping[str, Any]], stages: Mapping[str, Sequence[tuple[str, float]]]
) -> Picture:
    """`ingested` and the runs of `stages`, as (started, seconds), have the newest last; one may be empty."""
    columns = [_of_ingestions(ingested), _of_stages(stages)]
    titles = ["Ingestions", "Time of stages"]
    there = [at for at, column in enumerate(columns) if column]
    alt = " ".join(told for told in (_ingestions_told(ingested), _stages_told(stages)) if told)
    reading = "One bar a run, the newest last. The figure beside a strip is its greatest value."
    return picture(trend([columns[at] for at in there], [titles[at] for at in there]), alt, reading)


def _of_ingestions(ingested: Sequence[Mapping[str, Any]]) -> list[Strip]:
    if not ingested:
        return []
    times = [each["time"] for each in ingested]
    shares = [_percent(each["rejected"], each["rows_read"]) for each in ingested]
    read, seconds = [each["rows_read"] for each in ingested], [each["seconds"] for each in ingested]
    return [
        Strip("rows read", times, read, f"{max(read):,}"),
        Strip("rejected, % of rows read", times, shares, f"{max(shares):.1f}%"),
        Strip("time, s", times, seconds, _seconds(max(seconds))),
    ]


def _of_stages(stages: Mapping[str, Sequence[tuple[str, float]]]) -> list[Strip]:
    return [
        Strip(
            f"{name}, s",
            [at for at, _ in runs],
            [took for _, took in runs],
            _seconds(max(t for _, t in runs)),
        )
        for name, runs in list(stages.items())[:MOST_STRIPS]
    ]


def _ingestions_told(ingested: Sequence[Mapping[str, Any]]) -> str:
    steps = (
        f"{_minute(each['time'])} {each['rows_read']:,} read, "
        f"{_percent(each['rejected'], each['rows_read']):.1f}% rejected, {_seconds(each['seconds'])}"
        for each in ingested
    )
    return f"Ingestions, the newest last. {'; '.join(steps)}." if ingested else ""


def _stages_told(stages: Mapping[str, Sequence[tuple[str, float]]]) -> str:
    steps = (
        f"{name}: {', '.join(_seconds(took) for _, took in runs)}"
        for name, runs in list(stages.items())[:MOST_STRIPS]
    )
    return f"Time of stages, the newest last. {'; '.join(steps)}." if stages else ""


def courses(told: "Sequence[Course]") -> "Figure":
    """A strip for each figure over one axis of days; a band is its interval, its extremes stand beside it."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    with _style("white"):
        figure = _figure(4.6, 0.5 + 0.75 * len(told))
        strips = figure.subplots(len(told), sharex=True, squeeze=False)[:, 0]
        for axes, course in zip(strips, told, strict=True):
            days = [_day(period) for period in course.periods]
            axes.fill_between(days, course.low, course.high, color=ACCENT, alpha=0.2, linewidth=0)
            marker = "o" if len(days) <= MOST_MARKED else ""
            axes.plot(days, course.values, marker=marker, color=ACCENT, markersize=2.5)
            axes.set_title(course.title, fontsize=9.5, fontweight="normal", color=MUTED, pad=4)
            ends = sorted({min(course.low), max(course.high)})
            axes.set_yticks(ends, [f"{_told(end)}{course.unit}" for end in ends])
            axes.spines[["top", "left", "right"]].set_visible(False)
        dates = AutoDateLocator(minticks=2, maxticks=5)
        axes.xaxis.set_major_locator(dates)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(dates))
    return figure


def courses_picture(told: "Sequence[Course]") -> Picture:
    steps = (
        f"{course.title}: {_told(course.values[0])}{course.unit} in {course.periods[0]}, "
        f"{_told(course.values[-1])}{course.unit} in {course.periods[-1]}, "
        f"between {_told(min(course.low))} and {_told(max(course.high))}{course.unit}"
        for course in told
    )
    reading = (
        "Each day's last run, or each month's where it is older; of times the mean. The band is the interval "
        "of a score, and reaches from the shortest time to the longest."
    )
    return picture(courses(told), f"All runs. {'; '.join(steps)}.", reading)


def reasons(
    features: Sequence[Mapping[str, Any]],
    shapes: Sequence[Mapping[str, Any]],
    typical: Mapping[str, float | str | None],
) -> "Figure":
    """Bars for the strongest columns, mean size of the effect in log-odds; and the shapes of the first few.

    A shape has `feature`, `words`, `points` (None: missing), `effects` and `errors` (standard errors; None
    without any); each is drawn at the same scale, with its 95 % interval.
    """
    with _style("whitegrid"):
        if not shapes:
            figure = _figure(4.8, _importance_height(features))
            _importance(figure, features)
            return figure
        down = (len(shapes) + 2) // 2
        figure = _figure(9.2, 3.6 * down)
        parts = figure.subfigures(down, 2, squeeze=False, wspace=0.03, hspace=0.03).ravel()
        _importance(parts[0], features)
        reach = reach_of(shapes)
        for part, each in zip(parts[1:], shapes, strict=False):
            _shape(part, each, typical.get(each["feature"]), reach)
    return figure


def reasons_picture(
    features: Sequence[Mapping[str, Any]],
    shapes: Sequence[Mapping[str, Any]],
    typical: Mapping[str, float | str | None],
) -> Picture:
    shown = features[:MOST_FEATURES]
    steps = "; ".join(f"{_label(each['words'])} {each['mean_effect']:.3f}" for each in shown)
    told = [shape_told(each, typical.get(each["feature"])) for each in shapes]
    alt = " ".join([f"Overall reasons, mean size of the effect in log-odds. {steps}.", *told])
    others = len(features) - len(shown)
    reading = (
        "Bars: how far a column moves a client's risk on average, up or down; "
        "0.7 is about twice or half the odds."
        + (f" Other columns, each weaker: {others:,}." if others else "")
        + (" Shapes: " + "; ".join(_typical_told(each, typical) for each in shapes) + "." if shapes else "")
        + (" Above 0, or right of it, is associated with higher risk; not a cause." if shapes else "")
    )
    return picture(reasons(features, shapes, typical), alt, reading)


def _typical_told(facts: Mapping[str, Any], typical: Mapping[str, float | str | None]) -> str:
    return f"{_label(facts['words'])}, against the typical {_told(typical.get(facts['feature']))} (diamond)"


def shape_told(facts: Mapping[str, Any], typical: float | str | None) -> str:
    """A shape in words: the effect at each of its values."""
    steps = (
        f"{_told(value)}: {effect:+.2f}" + (f" (±{half:.2f})" if facts["errors"] else "")
        for value, effect, half in zip(facts["points"], facts["effects"], _halves(facts), strict=True)
    )
    words = _label(facts["words"])
    return (
        f"Shape of {words}, effect in log-odds at each value. {'; '.join(steps)}. "
        f"Typical: {_told(typical)}, at 0."
    )


def _importance_height(features: Sequence[Mapping[str, Any]]) -> float:
    return 1.0 + 0.27 * len(features[:MOST_FEATURES])


def _importance(figure: "Part", features: Sequence[Mapping[str, Any]]) -> None:
    shown = features[:MOST_FEATURES]
    axes = figure.subplots()
    sizes = [each["mean_effect"] for each in shown]
    bars = axes.barh(range(len(shown)), sizes, height=0.65, color=ACCENT, linewidth=0)
    axes.bar_label(bars, [f"{size:.3f}" for size in sizes], padding=4, color=INK, fontsize=9)
    axes.set_yticks(range(len(shown)), [_label(each["words"]) for each in shown])
    axes.grid(False, axis="y")
    axes.set(xlim=(0, 1.25 * max(sizes)), ylim=(len(shown) - 0.4, -0.6))
    axes.set(xlabel="mean size of the effect, in log-odds")
    figure.suptitle("Overall reasons", x=0.02, ha="left", fontsize=11, fontweight="bold", color=INK)


def _shape(figure: "Part", facts: Mapping[str, Any], typical: float | str | None, reach: float) -> None:
    words = _label(facts["words"])
    figure.suptitle(f"Shape: {words}", x=0.02, ha="left", fontsize=11, fontweight="bold", color=INK)
    if _of_categories(facts):
        _categories(figure, facts, typical, reach)
    else:
        _numbers(figure, facts, typical, reach)


def reach_of(shapes: Sequence[Mapping[str, Any]]) -> float:
    """How far from 0 shapes beside each other are drawn: all of each effect, most of each interval."""
    most = max((abs(effect) for each in shapes for effect in each["effects"]), default=0.0)
    ends = (abs(e) + half for each in shapes for e, half in zip(each["effects"], _halves(each), strict=True))
    return 1.1 * min(max(ends, default=0.0), 2 * most) or 1.0


def _of_categories(facts: Mapping[str, Any]) -> bool:
    return any(isinstance(value, str) for value in facts["points"])


def _numbers(figure: "Part", facts: Mapping[str, Any], typical: Any, reach: float) -> None:
    """A line with its band; a missing number has a narrow panel of its own."""
    found = dict(zip(facts["points"], zip(facts["effects"], _halves(facts), strict=True), strict=True))
    missing = found.pop(None, None)
    if typical is not None:
        # all is told against the typical client: there the effect is 0, without an error
        found[typical] = (0.0, 0.0)
    values = sorted(found)
    effects = [found[value][0] for value in values]
    apart = missing is not None or typical is None
    panels = figure.subplots(1, 1 + apart, sharey=True, squeeze=False, width_ratios=[7, 1][: 1 + apart])[0]
    axes = panels[0]
    if facts["errors"]:
        low, high = zip(*((e - half, e + half) for e, half in map(found.__getitem__, values)), strict=True)
        axes.fill_between(values, low, high, color=ACCENT, alpha=0.2, linewidth=0)
    axes.plot(values, effects, "o-", color=ACCENT, markersize=3.5)
    _scale(axes, values)
    axes.set(xlabel=f"{_label(facts['words'])}; diamond: typical", ylabel="effect on risk, in log-odds")
    axes.set_ylim(-reach, reach)
    if apart:
        effect, half = missing or (0.0, 0.0)
        panels[1].errorbar([0], [effect], [half], fmt="o", color=ACCENT, capsize=3, markersize=3.5)
        panels[1].set_xticks([0], [MISSING])
        panels[1].grid(False, axis="x")
    _typical(panels[1] if typical is None else axes, 0 if typical is None else typical, 0)
    for panel in panels:
        panel.axhline(0, color=MUTED, linewidth=0.8, zorder=1)


def _categories(figure: "Part", facts: Mapping[str, Any], typical: Any, reach: float) -> None:
    """A bar for each category, the most frequent on top."""
    axes, places = figure.subplots(), range(len(facts["points"]))
    whiskers: dict[str, Any] = (
        {"xerr": _halves(facts), "ecolor": INK, "capsize": 3} if facts["errors"] else {}
    )
    axes.barh(places, facts["effects"], height=0.65, color=ACCENT, linewidth=0, **whiskers)
    labels = [_label(_told(value), LONGEST_LABEL // 2) for value in facts["points"]]
    axes.set_yticks(places, labels, fontsize=9 if len(labels) <= 8 else 7)
    axes.grid(False, axis="y")
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    axes.set(xlim=(-reach, reach), ylim=(len(labels) - 0.4, -0.6))
    axes.set_xlabel("effect on risk, in log-odds; diamond: typical")
    told = [_told(value) for value in facts["points"]]
    if _told(typical) in told:
        _typical(axes, 0, told.index(_told(typical)))


def _typical(axes: "Axes", across: float, up: float) -> None:
    axes.plot([across], [up], "D", color=INK, fillstyle="none", markersize=7, zorder=4)


def _scale(axes: "Axes", values: Sequence[float]) -> None:
    """Room for the many small values where few are far greater; and figures as people read them."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    middle = values[len(values) // 2] if values else 0.0
    if middle > 0 and values[0] >= 0 and values[-1] > SKEWED * middle:
        axes.set_xscale("symlog", linthresh=max(middle / 10, min(v for v in values if v > 0)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _told(value)))


def _halves(facts: Mapping[str, Any]) -> list[float]:
    """Half the width of each 95 % interval; 0 where no error is known."""
    return [Z95 * error for error in facts["errors"] or [0.0] * len(facts["points"])]


def _told(value: float | str | None) -> str:
    """A value of a column as people read it."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, str):
        return _label(value)
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.4g}"


def _label(text: str, longest: int = LONGEST_LABEL) -> str:
    """Words of others on one line, cut to a length that leaves room for the figure."""
    plain = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def wilson(share: float, count: float) -> tuple[float, float]:
    """Interval of 95 % around a share of so many; Wilson, Probable inference (JASA 1927)."""
    middle = share + Z95**2 / (2 * count)
    half = Z95 * math.sqrt(share * (1 - share) / count + Z95**2 / (4 * count**2))
    return (middle - half) / (1 + Z95**2 / count), (middle + half) / (1 + Z95**2 / count)


def png(figure: "Figure") -> bytes:
    """Three colours of 8 bits, without transparency: a PDF takes the rows of such a PNG as they are."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas, stream = FigureCanvasAgg(figure), BytesIO()
    figure.set(dpi=PNG_DPI, facecolor="white")
    with _any_alphabet():
        canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    pixels.save(stream, format="png", dpi=(PNG_DPI, PNG_DPI))
    return stream.getvalue()


def svg(figure: "Figure") -> bytes:
    """Transparent, in the colours of the reader's scheme; the same figure gives the same bytes."""
    stream = BytesIO()
    with _style("white"), _any_alphabet():
        _lay_out(figure)
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue().decode()
    light = "".join(f"--c{role[1:]}:{role};" for role in DARK)
    dark = "".join(f"--c{role[1:]}:{colour};" for role, colour in DARK.items())
    for role in DARK:
        text = text.replace(f": {role}", f": var(--c{role[1:]})")
    scheme = f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    head, tag, body = text.partition("<defs>")
    return f"{head}<style>{scheme}</style>{tag}{body}".encode()


def _lay_out(figure: "Figure") -> None:
    """Find the place of everything, once: savefig would draw all of it for that, and each drawing anew."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    layout = figure.get_layout_engine()
    if layout is not None:
        FigureCanvasSVG(figure)
        figure.set_dpi(POINTS_AN_INCH)
        layout.execute(figure)
        figure.set_layout_engine("none")


def picture(figure: "Figure", alt: str, reading: str) -> Picture:
    drawn, kind = svg(figure), "svg+xml"
    printed = png(figure)
    if len(drawn) > LARGEST_SVG:
        drawn, kind = printed, "png"
    return Picture(f"data:image/{kind};base64,{base64.b64encode(drawn).decode()}", alt, reading, printed)


def _day(period: str) -> datetime:
    """A day, or the middle of a month."""
    return datetime.fromisoformat(period if len(period) == len("2026-03-01") else f"{period}-15")


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
def _any_alphabet() -> Iterator[None]:
    """A sign that the font lacks is drawn as a box, without a word; the text alternative has it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from")
        warnings.filterwarnings("ignore", "Matplotlib currently does not support")
        yield


@contextmanager
def _style(name: str) -> Iterator[None]:
    import matplotlib

    # no screen is needed; and "building the font cache" is no news for the mail that cron sends
    matplotlib.use("Agg")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    style: Any = {**_of_seaborn(name), **STYLE}
    with matplotlib.rc_context(style):
        yield


def _of_seaborn(name: str) -> dict[str, Any]:
    """What seaborn says of a style, now or when it was asked before; what cannot be one is asked anew."""
    from matplotlib import RcParams

    try:
        kept: Any = _followed(STYLES[name])
        RcParams(kept)
        return kept
    except (KeyError, ValueError, TypeError, AttributeError):
        import seaborn

    told = {**seaborn.axes_style(name), **seaborn.plotting_context("paper")}
    style = STYLES[name] = _followed(told)
    return style


def _followed(style: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in style.items() if key.partition(".")[0] in FAMILIES}
