"""The report, the list and the matrix, made from what the real stages wrote in a temporary folder."""

import csv
import dataclasses
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import deployment
import diagnostics
import ingestion
import reporting
import scoring
import training
from attrition import (
    files,
    generations,
    keptlists,
    ledger,
    monitor,
    pages,
    plots,
    releases,
    scorecard,
    sections,
    simulation,
    stage,
    tables,
    trends,
)
from attrition.album import Album
from attrition.config import Config
from attrition.errors import ConfigError, ReleaseError, UsageError
from tests.projects import CHECKOUT, HEADER, Project, classic_rows

SIMULATED = {
    "numeric": [
        "lastmonth_activity", "lastyear_activity", "number_of_employees", "tenure_months", "support_tickets",
    ],
    "categorical": ["industry", "contract"],
    "carry": ["month"],
    "words": {"lastmonth_activity": "logins last month", "yearly_value": "MRR in EUR"},
    "derived": {"activity_share": "lastmonth_activity / lastyear_activity"},
    "value": "yearly_value",
    "owner": "account_manager",
}  # fmt: skip
RUN = "20260301T060002Z-77"
SCRIPT = "<script>alert('x')</script>"
FORMULA = "=cmd|' /C calc'!A0"
LONG = "The Extraordinarily Long Name of a Company That Fills 60 Char"[:60]
WORDS = "\N{GRINNING FACE} مرحبا بالعالم שלום"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a reader's browser would see: elements with their attributes, and the text of each."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A simulated client base of 400 that went through every stage once; tests only read it."""
    project = Project(tmp_path_factory.mktemp("base"), {"clients": SIMULATED, "risk": {"capacity": 3}})
    months = ("2025-03", "2025-06", "2025-09")
    datasets = simulation.make_datasets({"source": 400, "test": 300}, 9, 5, None, {"source": months})
    simulation.write({name: rows for name, rows in datasets.items() if name != "truth.csv"}, project.home)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ATTRITION_PACKAGE_CHECK", "off")
        _through_the_stages(project.config(run=RUN))
        stage.step(project.config(run=RUN), "reporting", reporting.run)
    yield project


@pytest.fixture(scope="module")
def page(base: Project) -> Page:
    return _page(base)


def _through_the_stages(config: Config, diagnosed: bool = True) -> None:
    stage.step(config, "ingestion", ingestion.run)
    stage.step(config, "training", training.run)
    stage.step(config, "scoring", scoring.run)
    stage.step(config, "deployment", lambda config: deployment.deploy(config, "the first release"))
    if diagnosed:
        stage.step(config, "diagnostics", diagnostics.run)


def _ingest(project: Project, run: str) -> None:
    """One more ingestion, as a run of its own."""
    stage.step(project.config(run=run), "ingestion", ingestion.run)


def _page(project: Project, folder: str = "models") -> Page:
    return Page(project.read(f"{folder}/report.html"))


def _list(project: Project, folder: str = "models") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(project.read(f"{folder}/risklist.csv"))))


def _classic(
    project: Project,
    rows: Sequence[str] = (),
    test_rows: Sequence[str] | None = None,
    diagnosed: bool = False,
    **sections: Any,
) -> Config:
    """The classic contract, 150 labelled rows and what the test adds, through the stages and the report."""
    project.configure(**sections)
    project.dataset("clients.csv", [*classic_rows(150), *rows])
    project.dataset("testdata.csv", test_rows or classic_rows(60, start=500), folder="testdata")
    config = project.config(run=RUN)
    _through_the_stages(config, diagnosed)
    reporting.run(config)
    return config


def test_the_report_is_about_the_live_release(base: Project, page: Page) -> None:
    release = releases.require_live(base.config())
    f1 = release.scores["figures"]["f1"]
    assert f"Live release {release.id}" in page.text
    assert f"F1 on test data {f1['value']:.3f} {f1['low']:.2f} to {f1['high']:.2f} at 95%" in page.text
    assert "Newest trained model the live one" in page.text
    assert f"Trained on {json.loads(release.read('model.json'))['rows']:,} rows" in page.text


def test_the_list_has_every_active_client_once_with_the_live_release_s_probability(base: Project) -> None:
    config, listed = base.config(), _list(base)
    release = releases.require_live(config)
    newest = base.read("sourcedata/clients-2025-09.csv").splitlines()[1:]
    assert {line.split(",")[0] for line in newest} <= {row["corporation"] for row in listed}
    assert len({row["corporation"] for row in listed}) == len(listed)
    assert [int(row["rank"]) for row in listed] == list(range(1, len(listed) + 1))
    probabilities = [float(row["probability"]) for row in listed]
    assert probabilities == sorted(probabilities, reverse=True)
    card = scorecard.load(release.read("scorecard.json"))
    first = {
        column: float(value or "nan") if column not in ("industry", "contract") else value
        for column, value in listed[0].items()
        if column in card.features
    }
    probability = card.probability({column: [value] for column, value in first.items()})[0]
    assert probabilities[0] == pytest.approx(probability, abs=1e-6)
    assert {(row["release"], row["status"]) for row in listed} == {(release.id, "listed")}


def test_each_account_manager_has_a_short_list(base: Project, page: Page) -> None:
    shown = [words["aria-label"] for words in page.all("table") if words.get("class") == "risks"]
    managers = {row["account_manager"] for row in _list(base)}
    assert sorted(shown) == sorted(f"Short list of {manager}" for manager in managers)
    assert (
        len([attributes for attributes in page.all("th") if "client" in attributes.get("class", "").split()])
        == 24
    )
    for manager in managers:
        own = [row for row in _list(base) if row["account_manager"] == manager]
        assert f"{manager} 3 of {len(own)} clients" in page.text


def test_what_is_at_stake_is_the_sum_of_the_list(base: Project, page: Page) -> None:
    listed = _list(base)
    value = sum(float(row["yearly_value"]) for row in listed)
    loss = sum(float(row["expected_loss"]) for row in listed)
    bands = Counter(row["risk_band"] for row in listed)
    assert f"Total {len(listed):,} 100% {value:,.0f} {loss:,.0f}" in page.text
    for band in ("high", "medium", "low"):
        assert re.search(rf"{band.title()} (from|below) \d+% {bands[band]:,} ", page.text)
    assert "MRR in EUR" in page.text


def test_each_score_stands_beside_its_interval_its_baseline_and_how_to_read_it(
    base: Project, page: Page
) -> None:
    figures = releases.require_live(base.config()).scores["figures"]
    brier = figures["brier"]
    assert (
        "Brier score Mean squared error of the probabilities: lower is better, 0 is perfect. "
        f"{brier['value']:.3f} {brier['low']:.3f} to {brier['high']:.3f} {brier['no_skill']:.3f}"
    ) in page.text
    assert "ROC AUC How often a leaver has a higher probability than a stayer" in page.text


def test_the_plots_are_told_in_words_too(base: Project, page: Page) -> None:
    confusion = releases.require_live(base.config()).scores["confusion"]
    alts = [attributes["alt"] for attributes in page.all("img")]
    [matrix], [calibration] = (
        [alt for alt in alts if alt.startswith(word)] for word in ("Confusion matrix", "Calibration")
    )
    assert (
        f"Left: {confusion['true_positive']:,} predicted, {confusion['false_negative']:,} missed." in matrix
    )
    assert calibration.startswith("Calibration. ")
    assert "test rows)" in calibration


def test_what_the_model_looks_at_is_drawn_and_told_in_words_between_trust_and_data(
    base: Project, page: Page
) -> None:
    model = json.loads(releases.require_live(base.config()).read("model.json"))
    strongest, typical = model["importance"][0], _typical(base, model["shapes"][0]["feature"])
    headings = ["How far to trust it Scored", "What the model looks at The columns", "Data health Ingestions"]
    assert sorted(headings, key=page.text.index) == headings
    assert {"href": "#looks_at"} in page.all("a")
    overall, shapes = _looks(page)
    assert overall.startswith(
        "Overall reasons, mean size of the effect in log-odds. "
        f"{strongest['words']} {strongest['mean_effect']:.3f}; "
    )
    assert [alt.partition(",")[0] for alt in shapes] == [f"Shape of {s['words']}" for s in model["shapes"]]
    assert len(shapes) == 3
    for alt, shape in zip(shapes, model["shapes"], strict=True):
        half = plots.Z95 * shape["errors"][-1]
        assert f": {shape['effects'][-1]:+.2f} (±{half:.2f}). Typical: " in alt
    assert f"against the typical {typical} (diamond)" in page.text
    assert "not a cause." in page.text


def _looks(page: Page) -> tuple[str, list[str]]:
    """The text alternative of what the model looks at: overall, and each shape."""
    [alt] = [image["alt"] for image in page.all("img") if image["alt"].startswith("Overall reasons")]
    overall, *shapes = re.split(r" (?=Shape of )", alt)
    return overall, shapes


def _typical(project: Project, feature: str) -> str:
    columns = json.loads(releases.require_live(project.config()).read("scorecard.json"))["columns"]
    return plots._told(next(each["typical"] for each in columns if each["column"] == feature))


def _decided_by_plan(project: Project, *candidates: str, words: str = "plan booked") -> Page:
    """The report about clients of whom the plan decides, not the other columns; an age can be missing."""
    clients = {"numeric": ["age", "size"], "categorical": ["plan"], "words": {"plan": words}}
    project.configure(clients=clients, training={"candidates": candidates})
    plans, header = ("basic", "basic", "pro", ""), "corporation,age,size,plan,exited"
    for folder, start, count in (("sourcedata", 0, 400), ("testdata", 500, 100)):
        rows = [
            f"c{i},{'' if i % 7 == 0 else i * 37 % 60},{i * 53 % 91},{plans[i % 4]},"
            f"{int((i % 4 < 2) != (i % 11 == 0))}"
            for i in range(start, start + count)
        ]
        project.dataset("clients.csv", rows, header, folder)
    config = project.config(run=RUN)
    _through_the_stages(config, diagnosed=False)
    reporting.run(config)
    return _page(project)


def test_the_column_that_decides_is_told_first_with_each_of_its_categories(project: Project) -> None:
    overall, (first, *_) = _looks(_decided_by_plan(project, "logistic"))
    assert re.search(
        r"log-odds\. plan booked [1-9]\.\d{3}; (age|size) 0\.\d{3}; (age|size) 0\.\d{3}\.$", overall
    )
    told = r"Shape of plan booked, .* basic: \S+ \(±\S+\); .*pro: \S+ \(±\S+\).* Typical: (\w+), at 0\."
    typical = re.fullmatch(told, first)
    assert typical and f"{typical[1]}: +0.00 (±0.00)" in first
    assert "missing: " in first


@pytest.mark.draws
def test_trees_are_told_like_any_other_model(project: Project) -> None:
    page = _decided_by_plan(project, "constant", "boosting")
    assert "Model boosting" in page.text
    overall, (first, *_) = _looks(page)
    assert "log-odds. plan booked " in overall
    assert re.search(r"Shape of plan booked, .* basic: \+[1-9]\.\d\d \(±", first)


def test_a_model_that_looks_at_no_column_says_so(project: Project) -> None:
    page = _decided_by_plan(project, "constant")
    assert not any(image["alt"].startswith("Overall reasons") for image in page.all("img"))
    told = "What the model looks at At no column: it gives every client the same probability."
    assert told in page.text


def test_a_model_described_before_this_was_known_says_so(project: Project) -> None:
    assert reporting.of_the_model(Album(), {"model": "logistic"}, {}) == {}
    config = _classic(project)
    described = files.read_json(config.model_description)
    del described["importance"], described["shapes"]
    facts = reporting.gather(config, releases.require_live(config), generations.require_current(config))
    old = dataclasses.replace(facts, model=described, pictures=reporting.of_scores(Album(), facts.scores))
    _, page = reporting.told_and_drawn(old)
    assert "What the model looks at Not known: " in Page(page.decode()).text


@pytest.mark.draws
def test_words_of_any_alphabet_dollars_and_tags_are_drawn_and_told(project: Project) -> None:
    page = _decided_by_plan(project, "logistic", words=f"$x_{{$ {WORDS} <b>\n")
    assert "Shape of $x_{$ \N{GRINNING FACE} مرحبا" in _looks(page)[1][0]


@pytest.mark.draws
@pytest.mark.parametrize(
    ("points", "effects", "errors", "typical", "told"),
    [
        ([2.0, 9.0, None], [-1.0, 0.5, 0.25], [0.1, 0.2, 0.0], 5.0, "missing: +0.25 (±0.00). Typical: 5,"),
        ([0.5, 3.0, 1e6], [0.0, 0.5, 1.0], None, None, "1,000,000: +1.00. Typical: missing,"),
        ([0.0, 0.0001, 1e9], [0.0, 0.1, 0.0], [0.0, 99.0, 0.0], 0.0, "1,000,000,000: +0.00 (±0.00)."),
        (["a", ""], [0.0, -2.0], None, "c", "missing: -2.00. Typical: c,"),
        ([None], [1.0], None, 3.0, "missing: +1.00. Typical: 3,"),
    ],
)
def test_a_shape_is_drawn_whatever_its_values(
    points: list[Any], effects: list[float], errors: list[float] | None, typical: Any, told: str
) -> None:
    facts = {"feature": "f", "words": "w", "points": points, "effects": effects, "errors": errors}
    overall = [{"words": "w", "mean_effect": 0.5}]
    drawn = [plots.reasons_picture(overall, [facts], {"f": typical}) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert told in drawn[0].alt


def test_data_operations_and_reproduction_are_told(base: Project, page: Page) -> None:
    facts = files.read_json(base.config().diagnostics)
    assert re.search(r"clients-2025-06.csv ingested [0-9a-f]{8} \d+ kB 400 400 0 0 ", page.text)
    assert f"support tickets {facts['missing_percent']['support_tickets']:.1f}%" in page.text
    assert re.search(r"training [\d.]+ s [\d.]+ s 1 0 too few runs yet", page.text)
    pandas = next(package for package in facts["packages"]["packages"] if package["name"] == "pandas")
    assert f"pandas {pandas['installed']} {pandas['required']}" in page.text
    assert facts["packages"]["latest_status"] in page.text
    assert "(chosen)" in page.text
    assert (
        f"scikit-learn {releases.require_live(base.config()).facts['libraries']['scikit-learn']}" in page.text
    )


def test_the_report_is_one_file_that_asks_nobody_for_anything(base: Project, page: Page) -> None:
    html = base.read("models/report.html")
    assert len(html.encode()) < 1_000_000
    assert page.all("script") == [{}] and f"<script>{pages.script()}</script>" in html
    assert not page.all("link")
    sources = [attributes["src"] for attributes in page.all("img")]
    assert all(source.startswith("data:image/") for source in sources)
    assert "://" not in html and "url(" not in html and "@import" not in html
    assert {"fetch", "import", "XMLHttpRequest"}.isdisjoint(re.findall(r"\w+", pages.script()))
    targets = {attributes["href"] for attributes in page.all("a")}
    assert {target for target in targets if not target.startswith("#")} == {"risklist.csv", "shortlist.csv"}


def test_the_report_can_be_used_without_seeing_it(page: Page) -> None:
    assert [len(page.all(tag)) for tag in ("header", "main", "footer", "nav", "h1")] == [1, 1, 1, 1, 1]
    assert page.all("html") == [{"lang": "en"}]
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    assert all(attributes["alt"] for attributes in page.all("img"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {
        attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes
    }
    targets = {attributes["href"][1:] for attributes in page.all("a") if attributes["href"].startswith("#")}
    assert labels | targets <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def test_text_stands_out_from_its_background_in_the_light_and_in_the_dark() -> None:
    style = pages.style("style.css")
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.S)[:2]
    )
    assert light.keys() == dark.keys()
    for colours in (light, dark):
        for text in ("ink", "muted", "accent", "high", "medium", "low"):
            assert _contrast(colours[text], colours["paper"]) >= 4.5
        for text in ("ink", "muted"):
            assert _contrast(colours[text], colours["soft"]) >= 4.5
        for band in ("high", "medium", "low"):
            assert _contrast(colours[band], colours[f"{band}-soft"]) >= 4.5
        assert _contrast(colours["ink"], colours["medium-soft"]) >= 4.5
    for role in (plots.INK, plots.MUTED, plots.ACCENT):
        assert _contrast(role, light["paper"]) >= 4.5
        assert _contrast(plots.DARK[role], dark["paper"]) >= 4.5


def _contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2."""
    channels = ([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] for colour in (one, other))
    linear = (
        [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour] for colour in channels
    )
    lights = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in linear]
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_the_run_s_own_copies_are_what_the_fixed_names_hold(base: Project) -> None:
    names = (
        *("confusionmatrix.png", "risklist.csv", "shortlist.csv", "risklist.json"),
        *("report.html", "report.pdf", "report.json"),
    )
    for name in names:
        own = (base.home / f"models/reports/{RUN}/{name}").read_bytes()
        assert own == (base.home / f"models/{name}").read_bytes()
    assert (base.home / "models/confusionmatrix.png").read_bytes().startswith(b"\x89PNG")
    [entry] = base.history("reporting")
    assert entry["facts"]["files"] == [
        *(f"models/reports/{RUN}/{name}" for name in names),
        *(f"models/{n}" for n in names),
        f"models/reports/{RUN}/list.zip",
    ]


def test_a_report_never_overwrites_one_of_an_earlier_run(project: Project) -> None:
    config = _classic(project)
    first = project.read(f"models/reports/{RUN}/risklist.csv")
    project.dataset("more.csv", classic_rows(30, start=300))
    stage.step(config, "ingestion", ingestion.run)
    again = reporting.run(config)
    later = reporting.run(project.config(run="20260301T061002Z-78"))
    assert again.files[0].startswith(f"models/reports/{RUN}-2/")
    assert later.files[0].startswith("models/reports/20260301T061002Z-78/")
    assert project.read(f"models/reports/{RUN}/risklist.csv") == first
    assert project.read("models/risklist.csv") != first


def test_only_so_many_runs_are_kept_and_the_oldest_go(tmp_path: Path) -> None:
    for age, name in enumerate(["c", "b", "a"]):
        files.write_text(tmp_path / name / "report.html", name)
        os.utime(tmp_path / name, ns=(10**18 - age, 10**18 - age))
    assert reporting.forget(tmp_path, 2) == ["a"]
    assert reporting.forget(tmp_path, 2) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]


def test_a_dry_run_writes_nothing_and_names_what_it_would_write(base: Project) -> None:
    before = base.snapshot()
    reported = reporting.run(base.config(run="20260301T070000Z-1", dry_run=True))
    assert base.snapshot() == before
    assert "models/reports/20260301T070000Z-1/report.html" in reported.files


def test_without_a_live_release_the_next_command_is_named(project: Project) -> None:
    with pytest.raises(ReleaseError, match="no release is live yet. Run: python fullprocess.py"):
        reporting.run(project.config())


def test_without_diagnostics_the_sections_name_the_command(project: Project) -> None:
    _classic(project)
    page = _page(project)
    assert page.text.count("Not diagnosed yet: python diagnostics.py --config") == 4
    assert "Look: Data and packages are not diagnosed yet." in page.text


def test_a_new_model_that_did_not_go_live_is_told_with_its_score(project: Project) -> None:
    config = _classic(project)
    live = releases.require_live(config)
    project.dataset("more.csv", classic_rows(60, start=300, turned=True))
    stage.step(config, "ingestion", ingestion.run)
    stage.step(config, "training", training.run)
    reporting.run(config)
    assert "is not live: it was refused, rolled back, or not deployed yet." in _page(project).text
    stage.step(config, "scoring", scoring.run)
    reporting.run(config)
    newest = files.read_json(config.scores)["figures"]["f1"]["value"]
    deployed = live.scores["figures"]["f1"]["value"]
    told = (
        f"Its F1 on the test data is {newest:.3f}, that of the live release was {deployed:.3f} when deployed."
    )
    assert told in _page(project).text
    assert {row["release"] for row in _list(project)} == {live.id}


def test_a_failed_stage_asks_for_action_until_it_is_done(project: Project) -> None:
    config = _classic(project)
    ledger.append(config.history, _entry("training", "failed", "the disk is full"))
    reporting.run(config)
    page = _page(project)
    assert "act Act now" in page.text
    assert "The last run of training failed (2026-03-01T06:00:00Z): the disk is full" in page.text
    assert re.search(r"Next command: python training.py --config \S+config.json", page.text)
    ledger.append(config.history, _entry("training", "done", "trained"))
    reporting.run(config)
    assert "Act now" not in _page(project).text


def test_a_whole_run_that_finished_makes_up_for_a_failed_stage_but_not_for_the_api(project: Project) -> None:
    config = _classic(project)
    for name in ("training", "apicalls"):
        ledger.append(config.history, _entry(name, "failed", f"{name} broke"))
    ledger.append(config.history, _entry("fullprocess", "done", "all done"))
    assert [finding.sentence.split(":")[-1] for finding in reporting.failures(config)] == [" apicalls broke"]


@pytest.mark.draws
def test_from_three_days_on_the_course_of_all_runs_is_drawn(project: Project) -> None:
    config = _classic(project)
    for day in (1, 2):
        line = _entry("reporting", "done", "reported")
        facts = {"bands": {"high": 7 * day, "medium": 2, "low": 1}}
        ledger.append(config.history, {**line, "started": f"2026-03-0{day}T06:00:00Z", "facts": facts})
    reporting.run(config)
    assert "All runs" not in _page(project).text
    facts = {"bands": {"high": 40, "medium": 2, "low": 1}}
    line = {**_entry("reporting", "done", "reported"), "started": "2026-03-03T06:00:00Z", "facts": facts}
    ledger.append(config.history, line)
    reporting.run(config)
    told = "clients at high risk: 7 in 2026-03-01, 40 in 2026-03-03, between 7 and 40"
    assert told in (project.home / "models" / "report.html").read_text()
    config.history_summary.write_text("{")
    reporting.run(config)
    assert "The course of the runs is not shown." in _page(project).text


def test_the_history_line_of_a_report_counts_the_clients_of_each_band(project: Project) -> None:
    config = _classic(project)
    reported = reporting.run(config)
    listed = [row["risk_band"] for row in _list(project)]
    assert reported.bands == {band: listed.count(band) for band in ("high", "medium", "low")}
    assert sum(reported.bands.values()) == reported.active > 0


def _entry(name: str, status: str, sentence: str) -> dict[str, Any]:
    ran = {"run": RUN, "stage": name, "started": "2026-03-01T06:00:00Z", "seconds": 1.0}
    return {**ran, "status": status, "sentence": sentence, "facts": {}}


def test_diagnostics_of_earlier_data_are_told_to_be_old(project: Project) -> None:
    config = _classic(project, diagnosed=True)
    old = "Look: The diagnostics are about an earlier release or earlier data. python diagnostics.py --config"
    assert old not in _page(project).text
    project.dataset("more.csv", classic_rows(30, start=300))
    stage.step(config, "ingestion", ingestion.run)
    reporting.run(config)
    assert old in _page(project).text


@pytest.mark.draws
def test_drift_is_told_with_its_figures(project: Project) -> None:
    project.here = True
    project.configure(retraining={"most_per_day": 1})
    project.dataset("a.csv", classic_rows(200))
    project.dataset("test.csv", classic_rows(90, start=500), folder="testdata")
    assert project.run("fullprocess.py").returncode == 0
    assert "Not looked at yet" in _page(project).text
    project.dataset("b.csv", classic_rows(300, start=2000, turned=True))
    assert "the next one waits" in project.json("fullprocess.py")["reason"]
    live = releases.require_live(project.config())
    record = monitor.read(project.config().monitor).records[live.id]
    assert record.drift and record.losses and record.shift
    text, error = _page(project).text, record.losses["error"]
    assert f"Act: Drift since {record.drift['since']}: {record.drift['reason']}." in text
    assert "met 300 new rows, 300 of them with a known outcome" in text
    cells = f"{error['value']:.3f} {error['low']:.3f} to {error['high']:.3f} {error['deployed']:.3f}"
    assert f"Error rate at the threshold {cells}" in text
    assert "On the newest 300 labelled rows, before any training on them, F1 was 0." in text
    assert "An estimate, before outcomes come: by its own probabilities the release errs on" in text
    for column in record.shift["columns"]:
        name = "the score" if column["column"] == "score" else column["column"].replace("_", " ")
        assert f"{name} {column['level']} {column['test']} {column['effect']:.2f}" in text


def test_vulnerable_packages_are_told(project: Project) -> None:
    config = _classic(project, diagnosed=True)
    facts = files.read_json(config.diagnostics)
    facts["packages"]["packages"][0] |= {"vulnerabilities": ["PYSEC-1"], "direct": False}
    name = facts["packages"]["packages"][0]["name"]
    files.write_json(config.diagnostics, facts)
    reporting.run(config)
    text = _page(project).text
    assert f"Look: Packages with known vulnerabilities: {name}. make lock UPGRADE=yes" in text
    assert re.search(rf"{name} [^A-Z]* PYSEC-1", text)


def test_each_ingestion_is_a_row_with_its_sums_the_newest_last(project: Project) -> None:
    config = _classic(project, rows=["odd,many,3,4,0", "odd2,-1,x,4,0", "odd3,5,5,5,7"])
    assert not any("Ingestions" in attributes["alt"] for attributes in _page(project).all("img"))
    # 10 of these 30 rows are in clients.csv already; the twin is read and gives nothing
    more = project.dataset("more.csv", classic_rows(30, start=140))
    twin = project.write("sourcedata/twin.csv", more.read_bytes())
    _ingest(project, "20260302T060002Z-78")
    reporting.run(config)
    size = more.stat().st_size + twin.stat().st_size
    rows = r"(?s)Time (\S+ \S+) UTC 1 153 150 0 3 [\d.]+ kB \S+ s (\S+ \S+) UTC 2 60 20 40 0 (\S+ k?B)"
    told = re.search(rows, _page(project).text)
    assert told and told[1] <= told[2] and told[3] == pages.size(size)
    assert "Each run that met new or changed datasets, the newest last;" in _page(project).text


@pytest.mark.draws
def test_from_three_ingestions_on_their_trend_is_drawn_and_told_in_words(project: Project) -> None:
    config = _classic(project, rows=["odd,many,3,4,0"] * 8 + classic_rows(2))
    for day in (2, 3):
        project.dataset(f"more{day}.csv", classic_rows(day, start=200 * day))
        _ingest(project, f"2026030{day}T060002Z-77")
    reporting.run(config)
    [alt] = [image["alt"] for image in _page(project).all("img") if "Ingestions" in image["alt"]]
    # 8 of 160 rows are 5 %
    assert re.fullmatch(
        r"Ingestions, the newest last. (\S+ \S+) 160 read, 5.0% rejected, \S+ s; "
        r"(\S+ \S+) 2 read, 0.0% rejected, \S+ s; (\S+ \S+) 3 read, 0.0% rejected, \S+ s. "
        r"Time of stages, the newest last. ingestion: \S+ s, \S+ s, \S+ s.",
        alt,
    )


def test_of_many_ingestions_the_last_twenty_are_shown(project: Project) -> None:
    config = _classic(project)
    for at in range(1, 23):
        project.dataset(f"more{at}.csv", classic_rows(at, start=1000 * at))
        _ingest(project, f"20260302T06{at:02d}02Z-77")
    reporting.run(config)
    page = _page(project)
    runs = [header["title"] for header in page.all("th") if "title" in header]
    assert runs == [f"20260302T06{at:02d}02Z-77" for at in range(3, 23)]
    assert "The last 20 of 23 runs that met new or changed datasets, the newest last;" in page.text
    [alt] = [image["alt"] for image in page.all("img") if "Ingestions" in image["alt"]]
    assert alt.count(" read, ") == 20


def test_rejected_datasets_and_rows_are_told_with_their_reasons(project: Project) -> None:
    broken = project.write("sourcedata/broken.csv", "a;b\n1;2\n")
    project.dataset("=1.csv", [*classic_rows(20, start=200), "odd5,5,5,5,7"])
    # two of three rows are bad: more than max_rejected_share allows
    project.dataset("unfit.csv", ["odd6,many,3,4,0", "odd7,many,3,4,0", "fine,1,9,5,0"])
    odd = ["odd,many,3,4,0", "odd2,-1,x,4,0", "odd3,5,5,5,7", "odd4,many,x,4,7"]
    _classic(project, rows=odd)
    page = _page(project)
    assert "Datasets set aside: 2, the first is broken.csv" in page.text
    assert "Rows set aside: 5" in page.text
    sha256 = files.sha256(broken)
    assert {"title": sha256} in page.all("code")
    assert f"broken.csv rejected {sha256[:8]} 8 B 0 0 0 0 it has no column corporation" in page.text
    assert re.search(r"unfit.csv rejected \S+ 1\d\d B 3 0 0 3 2 of its 3 rows break the contract", page.text)
    assert re.search(r"=1.csv ingested \S+ \d+ B 21 20 0 1 bad_outcome 1 \(line 22: ", page.text)
    assert re.search(
        r"clients.csv ingested \S+ [\d.]+ kB 154 150 0 4 not_a_number 3, bad_outcome 2 \(line 152: ",
        page.text,
    )
    assert re.search(r"4 datasets [\d.]+ kB 178 170 0 8", page.text)


def test_rejected_rows_are_counted_by_code_a_row_with_several_faults_under_each(project: Project) -> None:
    project.write("sourcedata/broken.csv", "a;b\n1;2\n")
    project.dataset("also.csv", [*classic_rows(20, start=200), "odd5,5,5,5,7"])
    # the last of them has two words for numbers and an outcome that is none
    odd = ["odd,many,3,4,0", "odd2,-1,x,4,0", "odd3,5,5,5,7", "odd4,many,x,4,7"]
    config = _classic(project, rows=odd)
    text = _page(project).text
    assert "missing_column whole 1 broken.csv: it has no column corporation" in text
    assert "not_a_number 3 1 clients.csv, line 152: lastmonth_activity is 'many', which is no number" in text
    assert "bad_outcome 3 2 also.csv, line 22: " in text
    assert "5 rows in all; one with several faults counts under each code." in text
    for name in ("broken.csv", "also.csv"):
        (project.home / "sourcedata" / name).unlink()
    project.dataset("clients.csv", classic_rows(150))
    stage.step(config, "ingestion", ingestion.run)
    reporting.run(config)
    assert "Rejected rows None in the current data." in _page(project).text


def test_a_rejected_row_longer_than_csv_allows_a_cell_is_counted(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    header = ["dataset", "line", "column", "code", "message", "row"]
    rows = [["a.csv", line, "age", "not_a_number", "m" * 1000, "r" * 200_000] for line in (2, 2, 5)]
    files.write_text(tmp_path / "rejectedrows.csv", tables.export_text(header, rows))
    told = trends.rejections(tmp_path / "rejectedrows.csv")
    [code] = told.codes
    assert (code.code, code.rows, code.datasets, told.rows) == ("not_a_number", 2, 1, 2)
    assert len(code.example) < 400
    assert csv.field_size_limit() == limit


def test_a_thousand_datasets_fit_below_a_megabyte_the_newest_and_those_set_aside_shown(
    project: Project,
) -> None:
    # in the order of their names, and so of their reading: 900 set aside, 99 and clients.csv ingested
    for at in range(900):
        project.write(f"sourcedata/{'&' * 200}{at:03d}.csv", f"{'<' * 500};b\n1;2\n")
    for at in range(99):
        project.dataset(f"a{at:02d}{'&' * 200}.csv", classic_rows(1, start=1000 + at))
    config = _classic(project)
    project.dataset("0 newest.csv", classic_rows(1, start=5000))
    _ingest(project, "20260302T060002Z-78")
    reporting.run(config)
    page = _page(project)
    assert len(project.read("models/report.html").encode()) <= pages.LARGEST_PAGE < 2**20
    assert len([code for code in page.all("code") if "title" in code]) == 100
    assert "0 newest.csv ingested" in page.text and "clients.csv ingested" in page.text
    assert page.text.count("… rejected") == 50 and page.text.count("… ingested") == 48
    assert "a51&" in page.text and "a50&" not in page.text
    assert "1,001 datasets" in page.text
    assert "Shown are the datasets read last, and those set aside last; 901 more are not." in page.text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9949, "9.9 kB"),
        (9951, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (2_500_000_000_000, "2,500 GB"),
    ],
)
def test_sizes_read_at_a_glance(count: int, text: str) -> None:
    assert pages.size(count) == text


def test_what_all_reasons_have_in_common_is_said_once_above_the_list(base: Project, page: Page) -> None:
    tail = "; associated with higher risk"
    listed = _list(base)
    assert listed[0]["reason_1"].endswith(tail)
    assert listed[0]["reason_1"].removesuffix(tail) in page.text
    assert tail not in page.text
    assert page.text.partition("How far to trust it")[0].count("associated with higher risk") == 1
    assert page.text.index("associated with higher risk") < page.text.index(listed[0]["corporation"])


def test_names_neither_run_as_script_nor_as_formula_and_are_shown_whole(project: Project) -> None:
    names = (SCRIPT, FORMULA, LONG, WORDS)
    _classic(project, rows=[f'"{name}",1,9,5,' for name in names], risk={"capacity": 400})
    html, page = project.read("models/report.html"), _page(project)
    assert html.count("<script") == 1
    for name in names:
        assert " ".join(name.split()) in page.text
    cells = {row["corporation"] for row in _list(project)}
    assert {SCRIPT, f"'{FORMULA}", LONG, WORDS} <= cells


def test_a_value_or_owner_that_is_not_configured_is_not_made_up(project: Project) -> None:
    _classic(project)
    page = _page(project)
    assert "Expected loss" not in page.text
    assert "No column with a client's value is configured" in page.text
    assert not page.all("details")
    assert {row["expected_loss"] for row in _list(project)} == {""}


def test_an_owner_without_a_name_has_a_list_too(project: Project) -> None:
    project.configure(clients={"owner": "manager"})
    rows = [f"{row},{'' if at % 2 else 'Ada'}" for at, row in enumerate(classic_rows(150))]
    project.dataset("clients.csv", rows, header=f"{HEADER},manager")
    project.dataset(
        "testdata.csv", [f"{row},Ada" for row in classic_rows(60, 500)], f"{HEADER},manager", "testdata"
    )
    config = project.config(run=RUN)
    _through_the_stages(config, diagnosed=False)
    reporting.run(config)
    assert "No manager 20 of" in _page(project).text


def test_when_every_client_has_left_the_report_says_so(project: Project) -> None:
    _classic(project, rows=[f"client{i:05d},1,9,5,1" for i in range(150)])
    assert _list(project) == []
    assert "No client to list: none is active." in _page(project).text
    assert project.read("models/risklist.csv").startswith("corporation,probability,risk_band,rank")


def test_a_single_client_is_a_list(project: Project) -> None:
    left = [f"client{i:05d},1,9,5,1" for i in range(150)]
    config = _classic(project, rows=[*left, "only,50,500,9,0"])
    assert [row["corporation"] for row in _list(project)] == ["only"]
    assert "1 client of 1 active" in _page(project).text
    assert "the list of 1 active client in models/risklist.csv" in str(reporting.run(config))


def test_ten_thousand_clients_fit_below_a_megabyte(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "\N{GRINNING FACE}" * 110
    rows = [f"{hostile}{i:05d},{i % 200},{i % 1500},{1 + i % 300}," for i in range(10_000)]
    config = _classic(project, rows=rows, risk={"capacity": 5000})
    assert len(project.read("models/report.html").encode()) <= pages.LARGEST_PAGE < 2**20
    assert re.search(r"250 clients of 10,\d{3} active", _page(project).text)
    assert "The other 4,750 of the short list and all clients" in _page(project).text
    assert len(_list(project)) >= 10_000
    too_small = len(project.read("models/report.html").encode()) - 2000
    monkeypatch.setattr(pages, "LARGEST_PAGE", too_small)
    reporting.run(config)
    assert len(project.read("models/report.html").encode()) <= too_small
    assert re.search(r"100 clients of 10,\d{3} active", _page(project).text)


def test_five_test_rows_are_enough_for_a_report_that_says_how_little_they_tell(project: Project) -> None:
    rows = ["a,1,10,10,1", "b,14,2145,99,0", "c,34,333,100,0", "d,2,3,4,1", "e,100,900,30,0"]
    _classic(project, test_rows=rows)
    page = _page(project)
    assert "Scored on 5 test rows that the model was not trained on, 2 of them leavers." in page.text
    assert "Too few leavers to tell much. There are 2 leavers in the test data and" in page.text
    assert "take the list as a hint, not as knowledge" in page.text


def test_a_figure_that_cannot_be_told_is_left_open(project: Project) -> None:
    _classic(project, test_rows=["a,1,10,10,1", "b,2,20,99,1"])
    assert re.search(r"ROC AUC How often [^–]* – – \S+ cannot be told from these rows", _page(project).text)


def test_without_calibration_bins_there_is_no_plot_of_them(project: Project) -> None:
    config = _classic(project)
    scores = files.read_json(config.scores)
    files.write_json(
        config.scores, {**scores, "calibration": [], "figures": dict.fromkeys(scores["figures"])}
    )
    deployment.deploy(project.config(force=True), "without bins")
    reporting.run(config)
    page = _page(project)
    assert "No calibration plot: there are too few test rows" in page.text
    assert not any("Calibration" in attributes["alt"] for attributes in page.all("img"))
    assert "F1 on test data – cannot be told from the test data" in page.text


def test_a_model_that_reads_a_column_the_data_lost_scores_nobody_and_asks_for_action(
    project: Project,
) -> None:
    config = _classic(project)
    project.configure(clients={"numeric": ["lastmonth_activity", "lastyear_activity"]})
    config = project.config(run=RUN)
    stage.step(config, "ingestion", ingestion.run)
    reporting.run(config)
    assert {row["status"] for row in _list(project)} == {"not_scored"}
    cause = "the live model reads number_of_employees, which the data does not have"
    assert f"Act: No client could be scored: {cause}." in _page(project).text
    assert all(cause in row["warnings"] for row in _list(project))


def test_practice_writes_below_its_own_folder_and_names_its_own_commands(project: Project) -> None:
    project.dataset("clients.csv", classic_rows(150), folder="practicedata")
    project.dataset("testdata.csv", classic_rows(60, start=500), folder="testdata")
    config = project.config(run=RUN, practice=True)
    _through_the_stages(config)
    reported = reporting.run(config)
    assert all(name.startswith("practicemodels/") for name in reported.files)
    assert not (project.home / "models").exists()
    page = _page(project, "practicemodels")
    assert "Attrition risk · practice" in page.text
    assert "python deployment.py --rollback --practice --config" in page.text


def test_as_a_command_it_names_its_files_and_needs_no_screen(base: Project, tmp_path: Path) -> None:
    answer = base.json("reporting.py", "--dry-run")
    assert (answer["stage"], answer["status"], len(answer["files"])) == ("reporting", "done", 15)
    assert answer["sentence"].startswith("The report is in models/report.html, the list of ")
    done = Project(tmp_path).run("reporting.py")
    assert (done.returncode, done.stdout) == (6, "")


def test_importing_the_stage_costs_nothing_heavy() -> None:
    heavy = "{'pandas', 'numpy', 'sklearn', 'matplotlib', 'seaborn', 'jinja2', 'flask'}"
    code = f"import sys, reporting; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.draws
def test_the_same_figures_give_the_same_pictures() -> None:
    confusion = {"true_positive": 30, "false_positive": 12, "false_negative": 8, "true_negative": 150}
    bins = [
        {"predicted": 0.1, "observed": 0.0, "count": 1},
        {"predicted": 0.9, "observed": 1.0, "count": 20_000},
    ]
    drawn = [(plots.confusion_picture(confusion, 0.4), plots.calibration_picture(bins)) for _ in range(2)]
    assert drawn[0] == drawn[1]


@pytest.mark.draws
def test_a_matrix_of_which_a_row_is_empty_is_drawn() -> None:
    nobody = {"true_positive": 0, "false_positive": 0, "false_negative": 0, "true_negative": 4}
    picture = plots.confusion_picture(nobody, 0.5)
    assert "no leaver is caught, and 0 of 0 leavers are missed" in picture.reading


def test_the_interval_of_a_share_is_wilson_s() -> None:
    assert plots.wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert plots.wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def _facts(project: Project) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(project.read("models/risklist.json"))
    return facts


def _with_open_rows(project: Project, count: int = 40, **sections: Any) -> Config:
    """The classic clients, and so many more of whom no outcome is known yet."""
    rows = [row.rpartition(",")[0] + "," for row in classic_rows(count, start=1000)]
    project.dataset("d2.csv", rows)
    return _classic(project, **sections)


def test_the_first_list_says_that_there_is_none_before_it(base: Project, page: Page) -> None:
    assert "What changed This is the first list that is kept: there is none to compare it with." in page.text
    assert "No outcome is known yet of the clients of any earlier list that is kept." in page.text
    assert _facts(base)["since"] is None


def test_the_same_data_and_release_twice_change_nothing(project: Project) -> None:
    config = _with_open_rows(project)
    reporting.run(project.config(run="20260301T061002Z-78"))
    assert {row["status"] for row in _list(project)} == {"steady"}
    facts = _facts(project)
    assert facts["changed"] == dict.fromkeys(("newly_at_risk", "risen", "recovered", "new", "not_scored"), 0)
    assert (facts["since"]["run"], facts["since"]["note"]) == (RUN, "")
    assert "Newly at risk nobody Risen nobody Recovered nobody New on the list nobody" in _page(project).text
    told = reporting.since(config, RUN)
    assert str(told).startswith(f"Since run {RUN}, up to run 20260301T061002Z-78: newly at risk: nobody; ")


def test_what_changed_is_told_in_the_list_the_report_and_between_any_two_runs(project: Project) -> None:
    _with_open_rows(project)
    clients = [row["corporation"] for row in _list(project)]
    likely, unlikely = clients[0], clients[-1]
    project.dataset("d3.csv", [f"{likely},149,1400,9,", f"{unlikely},1,9,5,", "newcomer,1,9,5,"])
    _ingest(project, "20260302T060002Z-78")
    reporting.run(project.config(run="20260302T060002Z-78"))
    status = {row["corporation"]: row["status"] for row in _list(project)}
    assert (status[likely], status[unlikely], status["newcomer"]) == ("recovered", "newly_at_risk", "new")
    text = _page(project).text
    assert re.search(rf"Newly at risk 1 : {unlikely} \(\S+ → \S+\)", text)
    assert re.search(rf"Recovered 1 : {likely} ", text)
    answer = project.json("reporting.py", "--since", RUN)
    assert (answer["newly_at_risk"], answer["recovered"]) == ([unlikely], [likely])
    assert (answer["new"], answer["gone"], answer["same_model"]) == (["newcomer"], [], True)
    assert f"newly at risk: 1 ({unlikely}); risen: nobody; recovered: 1 ({likely})" in answer["sentence"]


def test_a_new_model_is_said_and_nobody_is_called_risen(project: Project) -> None:
    _with_open_rows(project)
    deployment.deploy(project.config(force=True), "the same model again")
    reporting.run(project.config(run="20260302T060002Z-78"))
    assert {row["status"] for row in _list(project)} == {"listed"}
    assert {row["previous_probability"] for row in _list(project)} == {""}
    text = _page(project).text
    assert "Scores not comparable, new model." in text and "Newly at risk nobody" not in text
    assert _facts(project)["since"]["note"] == "scores not comparable, new model"
    assert "(scores not comparable, new model)" in str(reporting.since(project.config(), RUN))


def test_a_damaged_list_is_said_and_passed_over(project: Project) -> None:
    _with_open_rows(project)
    reporting.run(project.config(run="20260302T060002Z-78"))
    place = project.home / "models/reports/20260302T060002Z-78/list.zip"
    place.write_bytes(place.read_bytes()[:-100])
    reporting.run(project.config(run="20260303T060002Z-79"))
    text = _page(project).text
    assert "Look: The kept list models/reports/20260302T060002Z-78/list.zip is damaged (" in text
    assert "Restore the file, or delete it." in text
    assert _facts(project)["since"]["run"] == RUN
    with pytest.raises(UsageError, match=r"It is damaged .*Name another run"):
        reporting.since(project.config(), "20260302T060002Z-78")


@pytest.mark.parametrize("run", ["unknown", "", "../reports/x", "\0", "x" * 5000])
def test_a_run_of_which_no_list_is_kept_is_refused_with_those_that_are(base: Project, run: str) -> None:
    with pytest.raises(UsageError, match=rf"Name one of the 1 kept, from {RUN} to {RUN}"):
        reporting.since(base.config(), run)


def test_a_list_that_was_not_finished_counts_as_none(project: Project) -> None:
    config = _with_open_rows(project)
    (project.home / f"models/reports/{RUN}/list.zip").unlink()
    with pytest.raises(UsageError, match="None is kept yet. Run: python reporting.py"):
        reporting.since(config, RUN)
    reporting.run(project.config(run="20260302T060002Z-78"))
    assert _facts(project)["since"] is None


def test_once_outcomes_arrive_earlier_lists_are_held_to_their_promise(project: Project) -> None:
    _with_open_rows(project, risk={"capacity": 5})
    listed = _list(project)
    waiting = [row for row in listed if row["dataset"] == "d2.csv"]
    short = {row["corporation"] for row in listed[:5]}
    surprise = waiting[-1]
    lines = [
        ",".join([*(row[column] for column in HEADER.split(",")[:-1]), str(int(row is surprise))])
        for row in waiting
    ]
    project.dataset("d2.csv", lines)
    _ingest(project, "20260302T060002Z-78")
    reporting.run(project.config(run="20260302T060002Z-78"))
    [run] = _facts(project)["look_back"]["runs"]
    assert (run["run"], run["short"]["clients"]) == (RUN, 5)
    assert run["short"]["known"] == len(short & {row["corporation"] for row in waiting})
    assert (run["scored"]["known"], run["scored"]["left"]) == (40, 1)
    expected = sum(float(row["probability"]) for row in waiting)
    assert run["scored"]["expected"]["value"] == pytest.approx(expected, abs=1e-4)
    [missed] = _facts(project)["look_back"]["missed"]
    assert (missed["client"], missed["rank"]) == (surprise["corporation"], int(surprise["rank"]))
    # its figures of then, not those of a typical client, spoke for staying
    assert missed["reasons"] and all("associated with lower risk" in reason for reason in missed["reasons"])
    assert any(f"{float(surprise['lastmonth_activity']):,.0f} " in reason for reason in missed["reasons"])
    text = _page(project).text
    assert "Left without having been listed 1 client left and stood on no short list" in text
    assert f"{surprise['corporation']} " in text and "1 of 40; promised" in text
    # neither the release nor the list of then: the client is named all the same
    (project.home / f"models/reports/{RUN}/risklist.csv").unlink()
    reporting.run(project.config(run="20260303T060002Z-79"))
    assert [one["reasons"] for one in _facts(project)["look_back"]["missed"]] == [[]]


def test_the_team_s_table_of_actions_is_read_beside_the_config(project: Project) -> None:
    project.write(
        "plays/ours.csv", "reason,band,action,days\ndefault,any,=Call <them>,2\nodd,any,Nothing,1\n"
    )
    _with_open_rows(project, risk={"plays": "plays/ours.csv"})
    assert {row["suggested_action"] for row in _list(project)} == {"'=Call <them>"}
    text = _page(project).text
    assert ": =Call <them>" in text
    assert "plays/ours.csv has actions for odd, which the live model does not read" in text


def test_a_bad_table_of_actions_stops_the_report_and_keeps_the_last_one(project: Project) -> None:
    project.write("plays.csv", "reason,band,action,days\ndefault,any,Call,2\n")
    config = _with_open_rows(project, risk={"plays": "plays.csv"})
    before = project.read("models/risklist.csv")
    project.write("plays.csv", "reason,band,action\ndefault,any,Call\n")
    with pytest.raises(ConfigError, match="plays.csv: 1 fault.*"):
        reporting.run(config)
    done = project.run("reporting.py")
    assert done.returncode == 3 and "line 1: it has no column days" in done.stderr
    assert project.read("models/risklist.csv") == before


def test_the_short_list_is_a_file_of_its_own(base: Project) -> None:
    short = list(csv.DictReader(io.StringIO(base.read("models/shortlist.csv"))))
    owners = [row["account_manager"] for row in short]
    assert owners == sorted(owners) and set(Counter(owners).values()) == {3}
    by_client = {row["corporation"]: row for row in _list(base)}
    assert all(row.items() <= by_client[row["corporation"]].items() for row in short)
    kept = keptlists.kept(base.home / "models/reports").last
    assert kept is not None and int(kept.rows["listed"].sum()) == len(short)


def _twin(project: Project) -> dict[str, Any]:
    twin: dict[str, Any] = json.loads(project.read("models/report.json"), parse_constant=pytest.fail)
    return twin


def test_the_twin_has_the_ten_sections_in_the_order_of_the_page(base: Project, page: Page) -> None:
    shown = [attributes["id"] for attributes in page.all("section")]
    assert [key for key in _twin(base) if key in sections.SECTIONS] == list(sections.SECTIONS) == shown


def test_every_figure_of_the_page_is_in_its_twin(base: Project, page: Page) -> None:
    numeral = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
    known = set(numeral.findall((pages.TEMPLATES / "report.html").read_text()))
    for leaf in _leaves(_twin(base)):
        known |= set(numeral.findall(" ".join(_written(leaf))))
    shown = numeral.findall(page.text)
    assert len(shown) > 800
    assert [figure for figure in shown if figure not in known] == []


def _leaves(told: Any) -> Iterator[Any]:
    """Every value and key of what JSON held; of a list also how long it is."""
    if isinstance(told, dict):
        for key, value in told.items():
            yield key
            yield from _leaves(value)
    elif isinstance(told, list):
        yield len(told)
        for value in told:
            yield from _leaves(value)
    else:
        yield told


def _written(leaf: Any) -> list[str]:
    """A value in each way in which a page can write it."""
    if isinstance(leaf, str):
        return [leaf, leaf[:8]]
    if leaf is None or isinstance(leaf, bool):
        return []
    digits = [f"{abs(leaf):,.{number}f}" for number in range(4)]
    return [*digits, pages.percent(leaf), pages.seconds(leaf), pages.size(round(leaf)), pages.age(leaf)]


def test_a_release_scored_before_its_curves_were_kept_has_a_report_without_them(project: Project) -> None:
    config = _classic(project)
    assert {"precision_recall", "distribution", "lift"} <= _twin(project)["trust"]["plots"].keys()
    scores = files.read_json(config.scores)
    files.write_json(
        config.scores, {k: v for k, v in scores.items() if k not in ("precision_recall", "distribution")}
    )
    deployment.deploy(project.config(force=True), "without curves")
    reporting.run(config)
    assert not {"precision_recall", "distribution"} & _twin(project)["trust"]["plots"].keys()
    assert "No curve of precision and recall" in _page(project).text
