"""The ten sections of the report as plain data: what the page and the PDF draw, and what report.json holds.

Pages get these figures and nothing else, so page and twin cannot differ. Touches no disk.

Stable: the ten keys of SECTIONS in this order, and the keys within them; what is not known is null.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import IO, Any

from attrition import changes, risklist, trends
from attrition.keptlists import KeptList
from attrition.lookback import Group, LookBack, RunKept
from attrition.plays import BANDS
from attrition.plots import Picture, wilson
from attrition.risklist import Entry, Overview
from attrition.settings import Clients, Risk

FORMAT = 1
SECTIONS = (
    *("status", "list", "changed", "at_stake", "trust"),
    *("looks_at", "data", "operations", "card", "reproduce"),
)
MOST_DATASETS = 50
MOST_RUNS = 12
# below this many leavers a score says little: outputs.md
FEW_LEAVERS = 100

FIGURES = {
    "f1": ("F1", "Precision and recall in one: 1 is perfect, 0 is useless. No skill: everybody is flagged."),
    "precision": ("Precision", "Of the clients flagged, the share that left. No skill: flag at random."),
    "recall": (
        "Recall",
        "Of the clients who left, the share that was flagged. No skill: flag as many at random.",
    ),
    "roc_auc": (
        "ROC AUC",
        "How often a leaver has a higher probability than a stayer: 1 is always, 0.5 is a coin.",
    ),
    "pr_auc": (
        "PR AUC",
        "Precision averaged over all thresholds: 1 is perfect, no skill is the share of leavers.",
    ),
    "log_loss": (
        "Log loss",
        "How surprising the outcomes are under the probabilities: lower is better, 0 is perfect.",
    ),
    "brier": ("Brier score", "Mean squared error of the probabilities: lower is better, 0 is perfect."),
    "slope": (
        "Calibration slope",
        "1 is right; below it the probabilities are too far apart, above it too close together.",
    ),
    "intercept": ("Calibration intercept", "In log-odds: 0 is right; no skill is the rate of leaving alone."),
    "calibration_error": (
        "Calibration error",
        "Mean distance of promised and observed share: 0 is right, which the rate alone reaches too.",
    ),
}
LOWER_IS_BETTER = ("log_loss", "brier")
# of these no skill is no yardstick: giving everybody the rate is calibrated, and says nothing
RIGHT_AT = {"slope": 1.0, "intercept": 0.0}
# the most urgent first
LEVELS = ("act", "look", "ok")
VERDICTS = {"ok": "All is well", "look": "Have a look", "act": "Act now"}
# said once above the list, not on each of its lines
HIGHER_RISK, LOWER_RISK = "; associated with higher risk", "; associated with lower risk"


@dataclass(frozen=True)
class Finding:
    """What a person should know at once: how urgent, what, and the command to go on with."""

    level: str
    sentence: str
    command: str = ""


@dataclass(frozen=True)
class Facts:
    """What the report is about; times are texts in UTC.

    `pictures` are by name, those that can be drawn; `columns` the columns of new rows beside those of
    the training rows; `stage_runs` the last runs of each stage, as (started, seconds), the newest last;
    `courses` how figures went over all runs.
    """

    run: str
    at: str
    practice: bool
    config_file: str
    clients: Clients
    risk: Risk
    release: Mapping[str, Any]
    model: Mapping[str, Any]
    typical: Mapping[str, float | str | None]
    scores: Mapping[str, Any]
    card: Mapping[str, Any]
    bands: Mapping[str, float]
    newest_model: str
    generation: Mapping[str, Any]
    datasets: Sequence[Mapping[str, Any]]
    past: trends.Past
    rejections: trends.Rejections
    diagnostics: Mapping[str, Any] | None
    columns: Sequence[Mapping[str, Any]]
    stage_runs: Mapping[str, Sequence[tuple[str, float]]]
    courses: Sequence[trends.Course]
    listed: Overview
    gone: int
    before: KeptList | None
    look_back: LookBack
    kept_list: bytes
    list_file: IO[bytes]
    pictures: Mapping[str, Picture]
    findings: Sequence[Finding]
    commands: Sequence[tuple[str, str]]
    default_command: str
    diagnose_command: str


def told(facts: Facts, most_clients: int) -> dict[str, Any]:
    """report.json: the ten sections, with so many clients of the short list; JSON can hold every value."""
    parts = {
        "status": _status(facts),
        "list": _list(facts, most_clients),
        "changed": _changed(facts),
        "at_stake": _at_stake(facts),
        "trust": _trust(facts),
        "looks_at": _looks_at(facts),
        "data": _data(facts),
        "operations": _operations(facts),
        "card": dict(facts.card),
        "reproduce": _reproduce(facts),
    }
    return {
        "format": FORMAT,
        "run": facts.run,
        "at": facts.at,
        "practice": facts.practice,
        "release": facts.release["id"],
        "threshold": facts.scores["threshold"],
        "default_command": facts.default_command,
        "diagnose_command": facts.diagnose_command,
        **{section: parts[section] for section in SECTIONS},
    }


def _status(facts: Facts) -> dict[str, Any]:
    level, total = _level(facts.findings), facts.listed.stakes["total"]
    return {
        "level": level,
        "verdict": VERDICTS[level],
        "findings": [asdict(finding) for finding in facts.findings],
        "next_command": next((f.command for f in facts.findings if f.command), facts.default_command),
        "data_of": facts.generation["created"],
        "data_age_minutes": _minutes(facts.generation["created"], facts.at),
        "release_of": facts.release["created"],
        "release_age_minutes": _minutes(facts.release["created"], facts.at),
        "model": facts.model["model"],
        "trained_at": facts.model["trained_at"],
        "active": facts.listed.active,
        "gone": facts.gone,
        "at_risk": facts.listed.at_risk,
        "threshold": facts.scores["threshold"],
        "threshold_from": facts.scores["threshold_from"],
        "value": total.value,
        "expected_loss": total.expected_loss,
        "f1": facts.scores["figures"].get("f1"),
    }


def _level(findings: Sequence[Finding]) -> str:
    levels = {finding.level for finding in findings}
    return next(level for level in LEVELS if level in {*levels, "ok"})


def _minutes(time: str, now: str) -> float:
    return (datetime.fromisoformat(now) - datetime.fromisoformat(time)).total_seconds() / 60


def _list(facts: Facts, most_clients: int) -> dict[str, Any]:
    clients = facts.clients
    listed = facts.listed
    shown, not_scored = listed.short[:most_clients], listed.active - listed.scored
    return {
        "order_by": facts.risk.order_by if clients.value else "probability",
        "capacity": facts.risk.capacity,
        "owner_word": clients.word(clients.owner) if clients.owner else None,
        "value_word": clients.word(clients.value) if clients.value else None,
        "active": facts.listed.active,
        "gone": facts.gone,
        "listed": listed.scored,
        "short": len(listed.short),
        "shown": len(shown),
        "groups": _groups(listed, shown),
        "not_scored": {"clients": not_scored, "cause": listed.cause} if not_scored else None,
    }


def _groups(listed: Overview, shown: Sequence[Entry]) -> list[dict[str, Any]]:
    """The short list by owner, the owner of the most urgent client first."""
    own: dict[str, list[Entry]] = {}
    for entry in shown:
        own.setdefault(entry.owner, []).append(entry)
    return [
        {
            "owner": owner,
            "of": listed.of[owner],
            "at_risk": listed.at_risk_of[owner],
            "expected_loss": risklist.stake(entries).expected_loss,
            "clients": [_client(entry) for entry in entries],
        }
        for owner, entries in own.items()
    ]


def _client(entry: Entry) -> dict[str, Any]:
    return {
        "rank": entry.rank,
        "client": entry.client,
        "probability": entry.probability,
        "band": entry.band,
        "status": entry.status,
        "before": entry.change.before,
        "points": entry.change.points,
        "reasons": [brief(reason.sentence) for reason in entry.reasons],
        "action": entry.action,
        "act_by": entry.act_by,
        "warnings": list(entry.warnings),
        "value": entry.value,
        "expected_loss": entry.expected_loss,
    }


def brief(reason: str) -> str:
    return reason.removesuffix(HIGHER_RISK).removesuffix(LOWER_RISK)


def _changed(facts: Facts) -> dict[str, Any]:
    before = facts.before
    new_model = before is not None and before.release != facts.release["id"]
    untold = ("newly_at_risk", "risen", "recovered") if new_model else ()
    return {
        "since": before and {"run": before.run, "scored_at": before.scored_at, "release": before.release},
        "note": changes.NEW_MODEL if new_model else "",
        "delta_points": facts.risk.delta_points,
        "groups": {
            status: {"clients": facts.listed.statuses[status], "shown": [_moved(entry) for entry in entries]}
            for status, entries in (facts.listed.changed if before else {}).items()
            if status not in untold
        },
    }


def _moved(entry: Entry) -> dict[str, Any]:
    return {"client": entry.client, "before": entry.change.before, "probability": entry.probability}


def _at_stake(facts: Facts) -> dict[str, Any]:
    stakes = facts.listed.stakes
    all_clients = stakes["total"].clients
    lowest = {"high": facts.bands["high"], "medium": facts.bands["medium"], "low": 0.0, "total": 0.0}
    return {
        "value_word": facts.clients.word(facts.clients.value) if facts.clients.value else None,
        "bands": {
            band: {
                "from": lowest[band],
                **asdict(stakes[band]),
                "share": stakes[band].clients / all_clients if all_clients else None,
            }
            for band in (*BANDS, "total")
        },
    }


def _trust(facts: Facts) -> dict[str, Any]:
    scores, model = facts.scores, facts.model
    return {
        "rows": scores["rows"],
        "left": scores["left"],
        "training": {"rows": model["rows"], "clients": model["clients"], "left": model["left"]},
        "few_leavers": min(scores["left"], model["left"]) < FEW_LEAVERS,
        "enough_leavers": FEW_LEAVERS,
        "figures": {name: _figure(name, scores["figures"].get(name)) for name in FIGURES},
        "threshold": scores["threshold"],
        "threshold_from": scores["threshold_from"],
        "confusion": scores["confusion"],
        "deciles": [_decile(each) for each in scores.get("deciles", ())],
        "calibration": [_bin(each) for each in scores["calibration"]],
        "precision_recall": scores.get("precision_recall"),
        "distribution": scores.get("distribution"),
        "look_back": _look_back(facts.look_back),
        "warnings": [*model["warnings"], *scores["warnings"]],
        "plots": _plots(facts, "confusion", "precision_recall", "lift", "calibration", "distribution"),
    }


def _plots(facts: Facts, *names: str) -> dict[str, Any]:
    """The words of those pictures that are there."""
    there = {name: facts.pictures[name] for name in names if name in facts.pictures}
    return {name: {"alt": each.alt, "reading": each.reading} for name, each in there.items()}


def _figure(name: str, figure: Mapping[str, Any] | None) -> dict[str, Any]:
    title, reading = FIGURES[name]
    known = dict.fromkeys(("value", "low", "high", "no_skill")) | dict(figure or {})
    return {"title": title, "reading": reading, **known, "verdict": tells(name, known)}


def tells(name: str, figure: Mapping[str, Any]) -> str:
    """What the interval of a figure says against its yardstick; "" where there is none."""
    low, high, no_skill = figure["low"], figure["high"], figure["no_skill"]
    if figure["value"] is None:
        return "cannot be told from these rows"
    if name == "calibration_error" or low is None or high is None or no_skill is None:
        return ""
    if (right := RIGHT_AT.get(name)) is not None:
        return f"not told apart from {right:.0f}" if low <= right <= high else f"not {right:.0f}"
    better, worse = low > no_skill, high < no_skill
    if name in LOWER_IS_BETTER:
        better, worse = worse, better
    if better:
        return "better than no skill"
    return "worse than no skill" if worse else "not told apart from no skill"


def _decile(each: Mapping[str, Any]) -> dict[str, Any]:
    low, high = wilson(each["left"] / each["rows"], each["rows"])
    rate = {"value": each["left"] / each["rows"], "low": max(0.0, low), "high": min(1.0, high)}
    return {**each, "rate": rate}


def _bin(each: Mapping[str, Any]) -> dict[str, Any]:
    low, high = wilson(each["observed"], each["count"])
    return {**each, "low": max(0.0, low), "high": min(1.0, high)}


def _look_back(found: LookBack) -> dict[str, Any]:
    return {
        "lists": len(found.runs),
        "leavers": found.leavers,
        "listed_before": found.leavers - found.never_listed,
        "never_listed": found.never_listed,
        "runs": [_run_kept(run) for run in found.runs[:MOST_RUNS]],
        "missed": [
            {**asdict(client), "reasons": [brief(reason) for reason in client.reasons]}
            for client in found.missed
        ],
    }


def _run_kept(run: RunKept) -> dict[str, Any]:
    return {**asdict(run), "short": _group(run.short), "scored": _group(run.scored)}


def _group(group: Group) -> dict[str, Any]:
    return {**asdict(group), "verdict": group.verdict}


def _looks_at(facts: Facts) -> dict[str, Any]:
    shapes = facts.model.get("shapes", [])
    return {
        "importance": facts.model.get("importance"),
        "shapes": [{**each, "typical": facts.typical.get(each["feature"])} for each in shapes],
        "plots": _plots(facts, "reasons"),
    }


def _data(facts: Facts) -> dict[str, Any]:
    past, rejections, diagnostics = facts.past, facts.rejections, facts.diagnostics
    sums = ("bytes", "rows_read", "rows_added", "duplicates", "rejected")
    shown = datasets_shown(facts.datasets, past)
    missing = diagnostics["missing_percent"] if diagnostics else {}
    return {
        "ingestions": [asdict(run) for run in past.ingestions],
        "ingestions_total": past.total,
        "rejections": [asdict(code) for code in rejections.codes],
        "rejected_rows": rejections.rows,
        "datasets": [
            {**dataset, "cause": dataset["reason"] or rejections.of(dataset["name"])} for dataset in shown
        ],
        "datasets_total": {"datasets": len(facts.datasets), "not_shown": len(facts.datasets) - len(shown)}
        | {count: sum(dataset[count] for dataset in facts.datasets) for count in sums},
        "diagnosed": diagnostics is not None,
        "drift": _drift(facts),
        "missing": [
            {
                "column": column,
                "words": facts.clients.word(column),
                "target": column == facts.clients.target,
                "percent": percent,
            }
            for column, percent in missing.items()
        ],
        "plots": _plots(facts, "drift"),
    }


def datasets_shown(datasets: Sequence[Mapping[str, Any]], past: trends.Past) -> list[Mapping[str, Any]]:
    """The datasets that were read last and the last ones that were set aside, in the order they came in."""
    by_age = sorted(datasets, key=lambda dataset: past.places.get(dataset["name"], -1))
    set_aside = [dataset for dataset in by_age if dataset["status"] == "rejected"]
    shown = {dataset["name"] for dataset in (*by_age[-MOST_DATASETS:], *set_aside[-MOST_DATASETS:])}
    return [dataset for dataset in datasets if dataset["name"] in shown]


def _drift(facts: Facts) -> dict[str, Any] | None:
    met = facts.diagnostics["drift"] if facts.diagnostics else None
    if met is None:
        return None
    inputs = met["inputs"] and {
        **met["inputs"],
        "columns": [{**each, "words": _word(facts, each["column"])} for each in met["inputs"]["columns"]],
    }
    return {**met, "inputs": inputs, "columns": list(facts.columns)}


def _word(facts: Facts, column: str) -> str:
    return "the score" if column == "score" else facts.clients.word(column)


def _operations(facts: Facts) -> dict[str, Any]:
    diagnostics = facts.diagnostics
    checked = diagnostics["packages"] if diagnostics else None
    listed = _packages(checked["packages"]) if checked else []
    return {
        "diagnosed": diagnostics is not None,
        "timings": diagnostics["timings"] if diagnostics else {},
        "stage_runs": {
            stage: [{"started": started, "seconds": seconds} for started, seconds in runs]
            for stage, runs in facts.stage_runs.items()
        },
        "courses": [asdict(course) for course in facts.courses],
        "packages": checked
        and {
            "latest_status": checked["latest_status"],
            "vulnerabilities_status": checked["vulnerabilities_status"],
            "listed": listed,
            "as_required": len(checked["packages"]) - len(listed),
            "changes": checked["changes"],
        },
        "plots": _plots(facts, "trend"),
    }


def _packages(packages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The packages that a person chose, and those of the others that ask for attention."""
    return [
        package
        for package in packages
        if package["direct"]
        or package["outdated"]
        or package["vulnerabilities"]
        or (package["needed_here"] and package["installed"] != package["required"])
    ]


def _reproduce(facts: Facts) -> dict[str, Any]:
    release, model = facts.release, facts.model
    return {
        "release": release["id"],
        "deployed_at": release["created"],
        "reason": release["reason"],
        "parent": release["parent"],
        "model": model["model"],
        "trained_at": model["trained_at"],
        "rows": model["rows"],
        "calibration": model["calibration"],
        "newest_model": facts.newest_model,
        "generation": facts.generation["id"],
        "ingested": model["ingested"],
        "config": facts.config_file,
        "candidates": model["candidates"],
        "transparency": model.get("transparency", {}).get("sentence"),
        "commands": [{"command": command, "meaning": meaning} for command, meaning in facts.commands],
        "libraries": release["libraries"],
    }
