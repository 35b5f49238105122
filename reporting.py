"""Gather what the other stages wrote, and have it drawn: the report, the risk list, the confusion matrix.

Reads   the live release, the current generation of ingesteddata/, diagnostics.json, monitor.json, the newest
        model.json and scores.json, the run history
        the lists of earlier runs (reports/<run>/list.zip), the team's table of actions (risk.plays)
Writes  report.html, report.pdf and report.json, which tell the same; risklist.csv, risklist.json,
        shortlist.csv, confusionmatrix.png; all first in reports/<run>/, then at the fixed names;
        last reports/<run>/list.zip, for later runs to compare with

Example: python reporting.py
         python reporting.py --since 20260301T060002.481Z-4711   (what changed since the list of that run)
"""

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from attrition import (
    changes,
    files,
    generations,
    keptlists,
    ledger,
    listfiles,
    lookback,
    modelcard,
    monitor,
    pages,
    paper,
    plays,
    plots,
    releases,
    risklist,
    sections,
    stage,
    tables,
    trends,
)
from attrition import contract as contracts
from attrition.album import Album
from attrition.changes import Since
from attrition.config import PROJECT, Config
from attrition.errors import DataError, ReleaseError, UsageError
from attrition.keptlists import Kept
from attrition.lookback import LookBack, Missed
from attrition.plays import BANDS, Plays
from attrition.plots import Picture
from attrition.publisher import Edition
from attrition.releases import Release
from attrition.risklist import Entry, Overview
from attrition.sections import FEW_LEAVERS, Facts, Finding
from attrition.settings import Clients
from attrition.trends import Course

KEPT_RUNS = 100
RUNS_OF_A_TREND = 3
SHOWN_RUNS = 20
# clients of the short list that the report shows: the most that its size allows
MOST_CLIENTS = (250, 100, 25, 5)
# clients that the sentence of --since names of each group; --json has them all
NAMED = 5
# of columns of new rows, as attrition.shift says them
LEVELS = ("none", "look", "act")
# a whole run is the sum of its stages
NOT_STAGES = ("fullprocess", "alerts")
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
    bands: Mapping[str, int]
    expected_loss: float | None
    active: int = field(metadata={"ledger": False})
    report: str = field(metadata={"ledger": False})
    risk_list: str = field(metadata={"ledger": False})
    status: str = "done"

    def __str__(self) -> str:
        clients = f"{self.active:,} active client{'' if self.active == 1 else 's'}"
        return f"The report is in {self.report}, the list of {clients} in {self.risk_list}."


@dataclass(frozen=True)
class Compared(Since):
    """What changed between the list of a run and the newest one: clients by what became of them."""

    status: str = "done"

    def __str__(self) -> str:
        groups = (*changes.TOLD, "gone", changes.NOT_SCORED)
        told = "; ".join(f"{group.replace('_', ' ')}: {_some(getattr(self, group))}" for group in groups)
        model = "" if self.same_model else f" ({changes.NEW_MODEL})"
        return f"Since run {self.since}, up to run {self.run}{model}: {told}."


def run(config: Config) -> Reported:
    with files.unnamed(config.model_folder) as list_file:
        return report(config, list_file)


def report(config: Config, list_file: IO[bytes]) -> Reported:
    book = plays.load(config.plays)
    release, generation = releases.require_live(config), generations.require_current(config)
    album = Album(config.pictures)
    facts = gather(config, release, generation, book, album, list_file)
    contents = draw(config, facts)
    folder = _free_folder(config.reports / config.run)
    written = {**{folder / path.name: data for path, data in contents.items()}, **contents}
    # last: a list that a killed run did not finish is none that a person has seen
    written[folder / keptlists.NAME] = facts.kept_list
    if not config.dry_run:
        for path, data in written.items():
            files.write_pieces(path, [data] if isinstance(data, bytes) else files.pieces_of(data))
        files.write_bytes(config.pictures, album.kept())
        forget(config.reports, KEPT_RUNS)
    names = [_relative(path, config.home) for path in written]
    report, risk_list = _relative(config.report, config.home), _relative(config.risk_list, config.home)
    stakes = facts.listed.stakes
    bands = {band: stakes[band].clients for band in BANDS}
    return Reported(names, bands, stakes["total"].expected_loss, facts.listed.active, report, risk_list)


def since(config: Config, run: str) -> Compared:
    """What changed from the list of that run to the newest one; UsageError where no such list is kept."""
    kept = keptlists.kept(config.reports)
    before, now = next((each for each in kept.lists if each.run == run), None), kept.last
    if before is None or now is None:
        raise UsageError(f"{config.reports}: no list of the run {run} can be read. {_kept_runs(kept, run)}")
    try:
        found = changes.since(before, now, config.settings.risk.delta_points)
    except ValueError as fault:
        raise DataError(
            f"{config.reports}: the list of run {before.run} or {now.run} is damaged ({fault}). "
            "Name another run, or make a new list: python reporting.py"
        ) from None
    return Compared(**asdict(found))


def _kept_runs(kept: Kept, run: str) -> str:
    if damaged := dict(kept.damaged).get(run):
        return f"It is damaged ({damaged}). Name another run."
    if not kept.lists:
        return "None is kept yet. Run: python reporting.py"
    return f"Name one of the {len(kept.lists)} kept, from {kept.lists[0].run} to {kept.lists[-1].run}."


def _some(clients: Sequence[str]) -> str:
    if not clients:
        return "nobody"
    more = f" and {len(clients) - NAMED:,} more" if len(clients) > NAMED else ""
    return f"{len(clients):,} ({', '.join(clients[:NAMED])}{more})"


def gather(
    config: Config,
    release: Release,
    generation: Edition,
    book: Plays | None = None,
    album: Album | None = None,
    list_file: IO[bytes] | None = None,
) -> Facts:
    """Everything the report is about; what the album has is not drawn again.

    The lines of risklist.csv go into `list_file`, which is to be empty.
    """
    from attrition import scorecard

    album = album or Album()

    card, at, clients = scorecard.load(release.read("scorecard.json")), stage.now(), config.clients
    table = generations.pieces(contracts.compiled(clients), generation)
    active, gone = risklist.current_clients(clients, table)
    scores, model = release.scores, json.loads(release.read("model.json"))
    diagnostics = _read_json(config.diagnostics, "diagnostics.py")
    newest = not_live(config, release)
    past = trends.past(generation.path("ingestionmetrics.csv"))
    risk, kept = config.settings.risk, keptlists.kept(config.reports)
    list_file = list_file or io.BytesIO()
    listed, keeper = risklist.Overview(risk.capacity), listfiles.Keeper()
    for entries in risklist.ranked(clients, risk, card, active, release.id, at, book, kept.last):
        listed.add(entries)
        keeper.add(entries)
        list_file.write(lines_of_list(clients, entries, is_first=not list_file.tell()))
    known = lookback.outcomes(clients, table, active[clients.id].tolist(), gone)
    looked_back = why_missed(config, lookback.look_back(kept.lists, known))
    datasets = generations.datasets(generation)
    courses, fault = courses_of_runs(config)
    columns = columns_then_and_now(config, release, diagnostics)
    runs = stage_runs(ledger.entries(config.history))
    typical = {column.column: column.typical for column in card.columns}
    found = [
        *failures(config),
        *fault,
        *_findings_of_the_list(config, listed),
        *_findings_of_earlier_lists(config, kept),
        *_findings_of_the_plays(config, book, card.features),
        *_findings_of_the_data(config, datasets, diagnostics, release, generation),
        *_findings_of_the_model(config, newest, model, scores),
    ]
    return Facts(
        run=config.run,
        at=at,
        practice=config.practice,
        config_file=_relative(config.path, PROJECT),
        clients=clients,
        risk=config.settings.risk,
        release=release.facts,
        model=model,
        typical=typical,
        scores=scores,
        card=modelcard.facts(config.settings.model_card, model, scores),
        bands=card.bands,
        newest_model=newest or "the live one",
        generation=generation.manifest,
        datasets=datasets,
        past=past,
        rejections=trends.rejections(generation.path("rejectedrows.csv")),
        diagnostics=diagnostics,
        columns=columns,
        stage_runs=runs,
        courses=courses,
        listed=listed,
        gone=len(gone),
        before=kept.last,
        look_back=looked_back,
        kept_list=keeper.packed(
            clients, listed.short, table, kept.next_number, release.id, card.threshold, at
        ),
        list_file=list_file,
        pictures={
            **of_scores(album, scores),
            **of_the_model(album, model, typical),
            **of_the_runs(album, past, runs, courses, columns),
        },
        findings=sorted(found, key=lambda finding: sections.LEVELS.index(finding.level)),
        commands=[(config.command(command), meaning) for command, meaning in COMMANDS.items()],
        default_command=config.command("fullprocess.py"),
        diagnose_command=config.command("diagnostics.py"),
    )


def lines_of_list(clients: Clients, entries: Sequence[Entry], is_first: bool) -> bytes:
    header, columns = listfiles.export(clients, entries)
    text = tables.export_columns(header, columns) if is_first else tables.export_more(columns)
    # the name of a dataset need not be UTF-8, a list that people open must be
    return text.encode("utf-8", "replace")


def draw(config: Config, facts: Facts) -> dict[Path, bytes | IO[bytes]]:
    """The content of each file with a fixed name."""
    short = tables.export_columns(*listfiles.short_export(facts.clients, facts.listed.short))
    told, page = told_and_drawn(facts)
    return {
        config.confusion_matrix: facts.pictures["confusion"].printed,
        config.risk_list: facts.list_file,
        config.short_list: short.encode("utf-8", "replace"),
        config.risk_facts: files.as_json(list_facts(facts)).encode("utf-8", "replace"),
        config.report: page,
        config.report_pdf: paper.report(page.decode(), facts.pictures, facts.at),
        config.report_facts: files.as_json(told).encode("utf-8", "replace"),
    }


def told_and_drawn(facts: Facts) -> tuple[dict[str, Any], bytes]:
    """The sections and the page that shows them, with as many clients as its size allows."""
    for most in MOST_CLIENTS:
        told = sections.told(facts, most)
        page = pages.report(told, facts.pictures)
        if len(page) <= pages.LARGEST_PAGE:
            break
    return told, page


def list_facts(facts: Facts) -> dict[str, Any]:
    """risklist.json: the list as a whole; what the API says of it before its clients."""
    before, listed = facts.before, facts.listed
    return {
        "run": facts.run,
        "release": facts.release["id"],
        "threshold": facts.scores["threshold"],
        "scored_at": facts.at,
        "active": listed.active,
        "at_risk": listed.at_risk,
        "at_stake": {band: asdict(stake) for band, stake in listed.stakes.items()},
        "since": before
        and {
            "run": before.run,
            "scored_at": before.scored_at,
            "release": before.release,
            "note": "" if before.release == facts.release["id"] else changes.NEW_MODEL,
        },
        "changed": listed.moved,
        "look_back": asdict(facts.look_back),
    }


def why_missed(config: Config, found: LookBack) -> LookBack:
    """The same, with what spoke most for staying when each missed client was last scored."""
    told = [replace(client, reasons=_calming(config, client)) for client in found.missed]
    return replace(found, missed=told)


def _calming(config: Config, missed: Missed) -> list[str]:
    """The strongest reasons against leaving, by the row and the release of then; none where one is gone."""
    from attrition import scorecard

    try:
        card = scorecard.load(releases.by_id(config, missed.release).read("scorecard.json"))
        row = _row_of(config.reports / missed.run / config.risk_list.name, config.clients.id, missed.client)
    except (ReleaseError, OSError, ValueError, StopIteration):
        return []
    cells = {column: row.get(f"input_{column}", row.get(column, "")) for column in card.features}
    try:
        values = {
            column: [float(cell or "nan") if column in card.numbers else tables.unguarded(cell)]
            for column, cell in cells.items()
        }
    except ValueError:
        return []
    reasons = [reason for reason in card.explain(values, top=None)[0] if reason.effect < 0]
    return [reason.sentence for reason in reversed(reasons[-risklist.REASONS :])]


def _row_of(place: Path, id_column: str, client: str) -> dict[str, str]:
    """A client's line of a kept risklist.csv; StopIteration where there is none."""
    with place.open(encoding="utf-8", newline="") as stream:
        rows = tables.read_rows(stream)
        header = next(rows)
        at, cell = header.index(id_column), tables.guarded(client)
        return next(dict(zip(header, row, strict=True)) for row in rows if row[at] == cell)


def of_scores(album: Album, scores: Mapping[str, Any]) -> dict[str, Picture]:
    """How far to trust the model, as pictures by name; those left out of which nothing is known."""
    confusion, threshold = scores["confusion"], scores["threshold"]
    drawn = {"confusion": album.of(plots.confusion_picture, confusion, threshold)}
    if (curve := scores.get("precision_recall")) and (average := scores["figures"]["pr_auc"]):
        rate = scores["left"] / scores["rows"]
        shown = (curve, average["value"], rate, confusion)
        drawn["precision_recall"] = album.of(plots.precision_recall_picture, *shown)
    if counts := scores.get("distribution"):
        drawn["distribution"] = album.of(plots.distribution_picture, counts, threshold)
    if bins := scores["calibration"]:
        drawn["calibration"] = album.of(plots.calibration_picture, bins)
    if (deciles := scores.get("deciles", [])) and all(each["lift"] for each in deciles):
        drawn["lift"] = album.of(plots.lift_picture, deciles)
    return drawn


def courses_of_runs(config: Config) -> tuple[list[Course], list[Finding]]:
    """How scores, risks, rows and timings went over all runs; and what hinders it from being told."""
    try:
        return trends.courses(ledger.past(config.history).whole), []
    except DataError as fault:
        return [], [Finding("look", f"The course of the runs is not shown. {fault}")]


def of_the_model(
    album: Album, model: Mapping[str, Any], typical: Mapping[str, float | str | None]
) -> dict[str, Picture]:
    """What the model looks at; nothing where it looks at no column, or has no facts about it."""
    features = model.get("importance", [])
    if not any(each["mean_effect"] for each in features):
        return {}
    return {"reasons": album.of(plots.reasons_picture, features, model.get("shapes", []), typical)}


def of_the_runs(
    album: Album,
    past: trends.Past,
    runs: Mapping[str, Sequence[tuple[str, float]]],
    courses: Sequence[Course],
    columns: Sequence[Mapping[str, Any]],
) -> dict[str, Picture]:
    """All runs as a trend, or the last ones while there are too few days; and the columns of new rows."""
    ingested = [asdict(run) for run in past.ingestions] if len(past.ingestions) >= RUNS_OF_A_TREND else []
    long = {stage: times for stage, times in runs.items() if len(times) >= RUNS_OF_A_TREND}
    drawn = {"trend": album.of(plots.trend_picture, ingested, long)} if ingested or long else {}
    if max((len(course.periods) for course in courses), default=0) >= RUNS_OF_A_TREND:
        drawn = {"trend": album.of(plots.courses_picture, courses)}
    return {**drawn, "drift": album.of(plots.drift_picture, columns)} if columns else drawn


def stage_runs(history: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[str, float]]]:
    """Start and seconds of each stage's last runs that did something, the stage that takes longest first."""
    runs: dict[str, list[tuple[str, float]]] = {}
    for entry in history:
        if entry["status"] in ledger.FINISHED and entry["status"] != "nothing to do":
            runs.setdefault(entry["stage"], []).append((entry["started"], entry["seconds"]))
    last = {stage: times[-SHOWN_RUNS:] for stage, times in runs.items() if stage not in NOT_STAGES}
    return dict(sorted(last.items(), key=lambda item: -sum(took for _, took in item[1]) / len(item[1])))


def columns_then_and_now(
    config: Config, release: Release, diagnostics: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """The columns of the rows that the live release met beside those of its training, the gravest first.

    None where it met no row, or nothing is diagnosed of them, or it was trained before this was kept.
    """
    met = diagnostics and diagnostics["drift"] and diagnostics["drift"]["inputs"]
    record = monitor.read(config.monitor).records.get(release.id)
    if not met or record is None or not record.inputs or "reference.json" not in release.facts["files"]:
        return []
    from attrition import arrivals, beside

    profile = json.loads(release.read("reference.json")).get("profile")
    if not profile:
        return []
    try:
        columns = beside.columns(profile, arrivals.from_json(record.inputs))
    except DataError:
        # the next look at new rows begins it anew, and says so
        return []
    verdicts = {each["column"]: each for each in met["columns"]}
    judged = [each for each in columns if each["column"] in verdicts]
    order = {each["column"]: (-LEVELS.index(each["level"]), each["p_value"]) for each in met["columns"]}
    return [
        {**each, "words": _word(config, each["column"]), "level": verdicts[each["column"]]["level"]}
        for each in sorted(judged, key=lambda each: order[each["column"]])
    ]


def _word(config: Config, column: str) -> str:
    return "the score" if column == "score" else config.clients.word(column)


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
            failed = {name: failure for name, failure in failed.items() if name in stage.SURVIVED}
        else:
            failed.pop(entry["stage"], None)
    for name, failure in failed.items():
        if name not in NOT_TOLD:
            sentence = f"The last run of {name} failed ({failure['started']}): {failure.get('sentence', '')}"
            # what waits to be told is sent by a tick
            script = "fullprocess" if name == "alerts" else name
            yield Finding("act", sentence, config.command(f"{script}.py"))


def forget(reports: Path, keep: int) -> list[str]:
    """Remove the reports of the oldest runs, and the drafts of killed ones; returns the runs' names."""
    folders = [folder for folder in reports.iterdir() if folder.is_dir()]
    for folder in folders:
        files.sweep(folder)
    runs = sorted(folders, key=lambda folder: (folder.stat().st_mtime_ns, folder.name))
    gone = runs[:-keep]
    for folder in gone:
        shutil.rmtree(folder)
    return [folder.name for folder in gone]


def _findings_of_the_list(config: Config, listed: Overview) -> Iterator[Finding]:
    not_scored = listed.active - listed.scored
    if not_scored and not listed.scored:
        sentence = f"No client could be scored: {listed.cause}."
        yield Finding("act", sentence, config.command("fullprocess.py --force"))
    elif not_scored:
        yield Finding("look", f"Clients that could not be scored: {not_scored:,}; {listed.cause}.")


def _findings_of_earlier_lists(config: Config, kept: Kept) -> Iterator[Finding]:
    for run, fault in kept.damaged:
        place = _relative(config.reports / run / keptlists.NAME, config.home)
        sentence = (
            f"The kept list {place} is damaged ({fault}) and was passed over: changes are told since another "
            "list, and it is missing from the look-back. Restore the file, or delete it."
        )
        yield Finding("look", sentence)


def _findings_of_the_plays(config: Config, book: Plays | None, features: Sequence[str]) -> Iterator[Finding]:
    if config.plays is None or book is None:
        return
    if unread := [reason for reason in book.reasons if reason not in features]:
        place = _relative(config.plays, config.home)
        yield Finding(
            "look",
            f"{place} has actions for {', '.join(unread)}, which the live model does not read: they are "
            "never suggested. Correct the names, or remove the lines.",
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
    if scores.get("test_rows") in monitor.read(config.monitor).outdated:
        sentence = "The test data tell of the world before a drift: figures on them mislead."
        yield Finding("look", f"{sentence} Put newer labelled rows into their folder.")
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
    told = "say what changed from the list of this run to the newest one, and end"
    action = stage.Action("--since", since, told, only_reads=True, metavar="RUN")
    return stage.enter("reporting", __doc__, run, [action])


if __name__ == "__main__":
    raise SystemExit(main())
