"""The model card: facts of a release, and the same as Markdown; what nobody said is "not stated".

After Mitchell et al. 2019, "Model Cards for Model Reporting". Touches no disk.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from attrition.settings import ModelCard

NOT_STATED = "not stated"
FIGURES = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "slope": "calibration slope",
    "intercept": "calibration intercept",
    "calibration_error": "expected calibration error",
}
LIMITS = (
    "Reasons are not causes: they say what goes with leaving among the clients it was trained on.",
    "High risk is not the same as savable: whom a call would keep, the data does not tell.",
)


def facts(stated: ModelCard, model: Mapping[str, Any], scores: Mapping[str, Any]) -> dict[str, Any]:
    """Every heading with what is known; `model` is model.json, `scores` scores.json."""
    horizon = f"It predicts leaving within {stated.horizon}." if stated.horizon else f"Horizon: {NOT_STATED}."
    return {
        "purpose": stated.purpose or NOT_STATED,
        "out_of_scope": stated.out_of_scope or NOT_STATED,
        "model": {
            "name": model["model"],
            "made_of": model["weights"],
            "trained_at": model["trained_at"],
            "libraries": model["libraries"],
            "transparency": model["transparency"].get("sentence", NOT_STATED),
            "calibration": model["calibration"],
            "threshold": model["threshold"],
        },
        "data": {
            "training_rows": model["rows"],
            "training_left": model["left"],
            "clients": model["clients"],
            "window": model["window"],
            "ingested": model["ingested"],
            "test_rows": scores["rows"],
            "test_left": scores["left"],
        },
        "metrics": scores["figures"],
        "looks_at": model.get("importance"),
        "limits": [*LIMITS, horizon, *model["warnings"], *scores["warnings"]],
        "contact": stated.contact or NOT_STATED,
    }


def markdown(card: Mapping[str, Any]) -> str:
    model, data = card["model"], card["data"]
    made_of = ", ".join(f"{name} ({weight:.2f})" for name, weight in model["made_of"].items())
    calibration = "kept" if model["calibration"]["kept"] else "not needed"
    lines = [
        f"# Model card: {model['name']}",
        *_section("Purpose", [card["purpose"]]),
        *_section("Out-of-scope use", [card["out_of_scope"]]),
        *_section(
            "Model",
            [
                f"- made of: {made_of}",
                f"- trained at: {model['trained_at']}",
                f"- price of transparency: {model['transparency']}",
                f"- calibration: {calibration}; threshold {model['threshold']['value']:.3f}, "
                f"from {model['threshold']['from']}",
            ],
        ),
        *_section(
            "Data",
            [
                f"- training: {data['training_rows']:,} rows of {data['clients']:,} clients, "
                f"{data['training_left']:,} left; {data['window']}; ingested as {data['ingested']}",
                f"- test: {data['test_rows']:,} rows, {data['test_left']:,} left",
            ],
        ),
        *_section("Metrics", _metrics(card["metrics"])),
        *_section("What it looks at", _looks(card["looks_at"])),
        *_section("Limits", [f"- {limit}" for limit in card["limits"]]),
        *_section("Contact", [card["contact"]]),
    ]
    return "\n".join(lines) + "\n"


def _section(heading: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {heading}", "", *lines]


def _metrics(figures: Mapping[str, Any]) -> list[str]:
    rows = ["| figure | value | 95 % interval | without skill |", "|---|--:|--:|--:|"]
    for name, told in FIGURES.items():
        figure = figures.get(name)
        if figure is None:
            rows.append(f"| {told} | {NOT_STATED} | | |")
        else:
            interval = f"{figure['low']:.3f} to {figure['high']:.3f}"
            rows.append(f"| {told} | {figure['value']:.3f} | {interval} | {figure['no_skill']:.3f} |")
    return rows


def _looks(importance: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = ["| column | mean effect in log-odds |", "|---|--:|"]
    # a bar in a column's name would end the cell
    return rows + [
        f"| {each['words'].replace('|', '/')} | {each['mean_effect']:.3f} |" for each in importance
    ]
