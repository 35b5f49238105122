"""Gather what the other stages wrote, and have it drawn: the report, the risk list, the confusion matrix.

Reads   the live release, the current generation of ingesteddata/, diagnostics.json, the newest model.json and
        scores.json, the run history
Writes  report.html, risklist.csv, confusionmatrix.png, first in reports/<run>/, then at the fixed names

Example: python reporting.py
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attrition import contract as contracts
from attrition import files, generations, ledger, pages, plots, releases, risklist, stage, tables, trends
from attrition.config import PROJECT, Config
from attrition.errors import DataError
from attrition.pages import FEW_LEAVERS, Facts, Finding
from attrition.plots import Picture
from attrition.publisher import Edition
from attrition.releases import Release
from attrition.risklist import Entry

KEPT_RUNS = 100
RUNS_OF_A_TREND = 3
# what failed in fullprocess is told by the stage that failed; this one is just succeeding
NOT_TOLD = ("fullprocess", "reporting")
COMMANDS = {
    "reporting.py": "make this report again",
    "deployment.py --list": "list the releases, the live one marked",
    "deployment.py --rollback": "make the release before the live one live again",
    "training.py": "train again on the same data: the same data, config and seed give the same model",
    "scoring.py": "score the newest trained model on the test data",
    "fullprocess.py --force": "train a challenger now, and deploy it if it is not worse",
}


@dataclass(frozen=True)
class Reported:
    """What was written, relative to the folder of config.json; the fixed names come last."""

    files: Sequence[str]
    active: int = field(metadata={"ledger": False})
    report: str = field(metadata={"ledger": False})
    risk_list: str = field(metadata={"ledger": False})
    status: str = "done"

    def __str__(self) -> str:
        clients = f"{self.active:,} active client{'' if self.active == 1 else 's'}"
        return f"The report is in {self.report}, the list of {clients} in {self.risk_list}."


def run(config: Config) -> Reported:
    release, generation = releases.require_live(config), generations.require_current(config)
    facts = gather(config, release, generation)
    contents = draw(config, facts)
    folder = _free_folder(config.reports / config.run)
    written = {**{folder / path.name: data for path, data in contents.items()}, **contents}
    if not config.dry_run:
        for path, data in written.items():
            files.write_bytes(path, data)
        forget(config.reports, KEPT_RUNS)
    names = [_relative(path, config.home) for path in written]
    report, risk_list = _relative(config.report, config.home), _relative(config.risk_list, config.home)
    return Reported(names, len(facts.entries), report, risk_list)


def gather(config: Config, release: Release, generation: Edition) -> Facts:
    """Everything the report is about, read once."""
    from attrition import scorecard

    card, at, clients = scorecard.load(release.read("scorecard.json")), stage.now(), config.clients
    table = generations.table(contracts.compiled(clients), generation)
    active, gone = risklist.current_clients(clients, table)
    scores, model = release.scores, json.loads(release.read("model.json"))
    diagnostics = _read_json(config.diagnostics, "diagnostics.py")
    newest = not_live(config, release)
    pictures = [plots.confusion_picture(scores["confusion"], scores["threshold"])]
    if scores["calibration"]:
        pictures.append(plots.calibration_picture(scores["calibration"]))
    past = trends.past(generation.path("ingestionmetrics.csv"))
    entries = risklist.rank(clients, config.settings.risk, card, active, release.id, at)
    datasets = generations.datasets(generation)
    found = [
        *failures(config),
        *_findings_of_the_list(config, entries),
        *_findings_of_the_data(config, datasets, diagnostics, release, generation),
        *_findings_of_the_model(config, newest, model, scores),
    ]
    return pages.Facts(
        run=config.run,
        at=at,
        practice=config.practice,
        config_file=_relative(config.path, PROJECT),
        clients=clients,
        risk=config.settings.risk,
        release=release.facts,
        model=model,
        scores=scores,
        bands=card.bands,
        newest_model=newest or "the live one",
        generation=generation.manifest,
        datasets=datasets,
        past=past,
        trend=trend(past),
        rejections=trends.rejections(generation.path("rejectedrows.csv")),
        diagnostics=diagnostics,
        entries=entries,
        gone=len(gone),
        pictures=pictures,
        importance=importance(model),
        shapes=shapes(model, {column.column: column.typical for column in card.columns}),
        findings=sorted(found, key=lambda finding: pages.LEVELS.index(finding.level)),
        commands=[(config.command(command), meaning) for command, meaning in COMMANDS.items()],
        default_command=config.command("fullprocess.py"),
        diagnose_command=config.command("diagnostics.py"),
    )


def draw(config: Config, facts: Facts) -> dict[Path, bytes]:
    """The content of each file with a fixed name."""
    header, rows = risklist.export(facts.clients, facts.entries)
    matrix = plots.confusion_matrix(facts.scores["confusion"], facts.scores["threshold"])
    return {
        config.confusion_matrix: plots.png(matrix),
        # the name of a dataset need not be UTF-8, a list that people open must be
        config.risk_list: tables.export_text(header, rows).encode("utf-8", "replace"),
        config.report: pages.report(facts),
    }


def trend(past: trends.Past) -> Picture | None:
    """The last ingestions as a picture, where there are enough of them to show a trend."""
    runs = past.ingestions
    if len(runs) < RUNS_OF_A_TREND:
        return None
    return plots.ingestions_picture(
        [run.time for run in runs],
        [run.rows_read for run in runs],
        [run.rejected for run in runs],
        [run.seconds for run in runs],
    )


def importance(model: Mapping[str, Any]) -> Picture | None:
    """The strongest columns as a picture; None where the model looks at none, or has no facts about it."""
    features = model.get("importance", [])
    if not any(each["mean_effect"] for each in features):
        return None
    return plots.importance_picture(features)


def shapes(model: Mapping[str, Any], typical: Mapping[str, float | str | None]) -> list[Picture]:
    """The strongest columns' shapes, all at one scale, each with the typical value of a client who stayed."""
    facts = model.get("shapes", [])
    reach = plots.reach_of(facts)
    return [plots.shape_picture(each, typical.get(each["feature"]), reach) for each in facts]


def not_live(config: Config, release: Release) -> str | None:
    """What is to be said about the newest trained model where it is not the live one."""
    newest = _read_json(config.model_description, "training.py")
    if newest is None:
        return None
    sha256 = newest["sha256"]["trainedmodel.pkl"]
    if sha256 == release.facts["files"]["trainedmodel.pkl"]["sha256"]:
        return None
    sentence = (
        f"The newest model ({newest['model']}, trained {newest['trained_at']}) is not live: "
        "it was refused, rolled back, or not deployed yet."
    )
    scores = _read_json(config.scores, "scoring.py")
    if scores is None or scores["model_sha256"] != sha256:
        return sentence
    new, live = (_f1(figures["figures"]) for figures in (scores, release.scores))
    return f"{sentence} Its F1 on the test data is {new}, that of the live release was {live} when deployed."


def failures(config: Config) -> Iterator[Finding]:
    """Every stage that failed and has not been done since, by itself or by a whole run that finished."""
    failed: dict[str, Mapping[str, Any]] = {}
    for entry in ledger.entries(config.history):
        if entry["status"] not in ledger.FINISHED:
            failed[entry["stage"]] = entry
        elif entry["stage"] == "fullprocess":
            # a whole run finishes with the API in trouble too
            failed = {name: failure for name, failure in failed.items() if name == "apicalls"}
        else:
            failed.pop(entry["stage"], None)
    for name, failure in failed.items():
        if name not in NOT_TOLD:
            sentence = f"The last run of {name} failed ({failure['started']}): {failure.get('sentence', '')}"
            # what waits to be told is sent by a tick
            script = "fullprocess" if name == "alerts" else name
            yield Finding("act", sentence, config.command(f"{script}.py"))


def forget(reports: Path, keep: int) -> list[str]:
    """Remove the reports of the oldest runs; returns their names."""
    folders = [folder for folder in reports.iterdir() if folder.is_dir()]
    runs = sorted(folders, key=lambda folder: (folder.stat().st_mtime_ns, folder.name))
    gone = runs[:-keep]
    for folder in gone:
        shutil.rmtree(folder)
    return [folder.name for folder in gone]


def _findings_of_the_list(config: Config, entries: Sequence[Entry]) -> Iterator[Finding]:
    not_scored = [entry for entry in entries if entry.cause]
    if not_scored and len(not_scored) == len(entries):
        sentence = f"No client could be scored: {not_scored[0].cause}."
        yield Finding("act", sentence, config.command("fullprocess.py --force"))
    elif not_scored:
        yield Finding(
            "look", f"Clients that could not be scored: {len(not_scored):,}; {not_scored[0].cause}."
        )


def _findings_of_the_data(
    config: Config,
    datasets: Sequence[Mapping[str, Any]],
    diagnostics: Mapping[str, Any] | None,
    release: Release,
    generation: Edition,
) -> Iterator[Finding]:
    diagnose = config.command("diagnostics.py")
    set_aside = [dataset for dataset in datasets if dataset["status"] == "rejected"]
    if set_aside:
        first = f"{set_aside[0]['name']} ({set_aside[0]['reason']})"
        sentence = f"Datasets set aside: {len(set_aside):,}, the first is {first}. Correct or remove it."
        yield Finding("look", sentence)
    rejected = sum(dataset["rejected"] for dataset in datasets if dataset["status"] != "rejected")
    if rejected:
        yield Finding("look", f"Rows set aside: {rejected:,}; the reasons are in rejectedrows.csv.")
    if diagnostics is None:
        yield Finding("look", "Data and packages are not diagnosed yet.", diagnose)
        return
    if (diagnostics["release"], diagnostics["generation"]) != (release.id, generation.id):
        yield Finding("look", "The diagnostics are about an earlier release or earlier data.", diagnose)
    if met := diagnostics["drift"]:
        yield from _findings_of_drift(met)
    packages = diagnostics["packages"]["packages"]
    if vulnerable := [package["name"] for package in packages if package["vulnerabilities"]]:
        sentence = f"Packages with known vulnerabilities: {', '.join(vulnerable)}."
        yield Finding("look", sentence, "make lock UPGRADE=yes && make setup")


def _findings_of_drift(met: Mapping[str, Any]) -> Iterator[Finding]:
    if alarm := met["drift"]:
        yield Finding("act", f"Drift since {alarm['since']}: {alarm['reason']}.")
    if (inputs := met["inputs"]) and inputs["sentences"]:
        others = len(inputs["sentences"]) - 1
        more = f"; and {pages.plural(others, 'other finding')}" if others else ""
        yield Finding(inputs["level"], f"New rows look otherwise: {inputs['sentences'][0]}{more}.")


def _findings_of_the_model(
    config: Config, newest: str | None, model: Mapping[str, Any], scores: Mapping[str, Any]
) -> Iterator[Finding]:
    if newest:
        yield Finding("look", newest, config.command("deployment.py --list"))
    for warning in [*model["warnings"], *scores["warnings"]]:
        yield Finding("look", f"{warning[:1].upper()}{warning[1:]}.")
    if model["left"] < FEW_LEAVERS:
        sentence = (
            f"The model has seen only {model['left']:,} leavers: take the list as a hint, not as knowledge."
        )
        yield Finding("look", sentence)


def _read_json(path: Path, made_by: str) -> Any:
    """The facts of a kept file, or None where it was never written."""
    try:
        return files.read_json(path)
    except FileNotFoundError:
        return None
    except ValueError:
        raise DataError(f"{path}: this is damaged. Run: python {made_by}") from None


def _f1(figures: Mapping[str, Any]) -> str:
    f1 = figures["f1"]
    return "not known" if f1 is None or f1["value"] is None else f"{f1['value']:.3f}"


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _free_folder(wanted: Path) -> Path:
    """The folder of this run; a second report of the same run has its own beside the first."""
    folder, count = wanted, 1
    while folder.exists():
        count += 1
        folder = wanted.with_name(f"{wanted.name}-{count}")
    return folder


def main() -> int:
    return stage.enter("reporting", __doc__, run)


if __name__ == "__main__":
    raise SystemExit(main())
