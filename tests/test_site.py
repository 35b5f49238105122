"""The web page and GET /clients/ID: what they say, to whom, of which release, whatever a client is called."""

import hashlib
import html
import json
import math
import re
import shutil
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import app as face
import deployment
import ingestion
import reporting
from attrition import answers, charts, clientfile, keptlists, scorecard, sessions, site, trends, worklist
from attrition.config import Config
from attrition.keptlists import Stand
from attrition.problems import Refused
from attrition.trends import Course
from attrition.worklist import NOBODY, Query, Worklist
from tests import servers
from tests.clientbase import CLIENTS, COLUMNS, HOSTILE, rows, settings, through_the_stages
from tests.projects import Project
from tests.servers import Server

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a list of clients of every name, made twice; tests here leave it as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTRITION_PACKAGE_CHECK", "off")
        project = Project(tmp_path_factory.mktemp("served"), folds=5)
        through_the_stages(project, "logistic")
        servers.stage.step(project.config(run="b-run"), "reporting", reporting.run)
    return project


@pytest.fixture(scope="module")
def client(served: Project) -> FlaskClient:
    return face.create_app(served.config()).test_client()


@pytest.fixture(scope="module")
def server(served: Project) -> Iterator[Server]:
    with servers.serving(served.home) as running:
        yield running


@pytest.fixture
def own(served: Project, tmp_path: Path) -> Project:
    """A copy of it, free to be changed."""
    shutil.copytree(served.home, tmp_path / "own", symlinks=True)
    return Project(tmp_path / "own", settings("logistic"), folds=5)


class Page(HTMLParser):
    """The words of a page, and its elements with their attributes."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.html = answer.text
        self.words: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.within = ""
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.within = tag
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.within != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]


def page(client: FlaskClient, place: str, status: int = 200) -> Page:
    answer = client.get(place, headers=BROWSER)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return Page(answer)


def listed(client: FlaskClient, query: str = "") -> list[str]:
    """The clients on one page of the list, in order."""
    found = re.findall(
        r'class="client"><a href="[^"]*"><bdi>(.*?)</bdi>', page(client, f"/{query}").html, re.S
    )
    return [html.unescape(name) for name in found]


def clients_of(client: FlaskClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/risk").get_json()["clients"]
    return found


# ---------------------------------------------------------------------------------------- the list, narrowed


def made(*rows: Mapping[str, Any]) -> Worklist:
    blank = dict.fromkeys(
        worklist.NUMBERS + worklist.TEXTS + worklist.SEARCHED,
        "",
    )
    return Worklist.of([{**blank, **row} for row in rows], "id", "owner")


def found(of: Worklist, **query: Any) -> list[str]:
    return [of.names[place] for place in worklist.view(of, Query(**query)).places]


PEOPLE = made(
    {
        "id": "Zed",
        "owner": "Ann",
        "risk_band": "high",
        "status": "risen",
        "rank": "1",
        "change_points": "20.5",
    },
    {"id": "ÄSOP", "owner": "", "risk_band": "high", "status": "new", "rank": "2", "reason_1": "3 tickets"},
    {
        "id": "'=sum",
        "owner": "Bo",
        "risk_band": "low",
        "status": "steady",
        "rank": "3",
        "change_points": "-2",
    },
    {"id": "lost", "owner": "Ann", "status": "not_scored"},
)


@pytest.mark.parametrize(
    ("query", "clients"),
    [
        ({}, ["Zed", "ÄSOP", "=sum", "lost"]),
        ({"owner": "Ann"}, ["Zed", "lost"]),
        ({"owner": NOBODY}, ["ÄSOP"]),
        ({"owner": "nobody of that name"}, []),
        ({"band": "high"}, ["Zed", "ÄSOP"]),
        ({"status": "not_scored"}, ["lost"]),
        ({"band": "high", "status": "new"}, ["ÄSOP"]),
        ({"q": "zed"}, ["Zed"]),
        ({"q": "a\u0308sop"}, ["ÄSOP"]),
        ({"q": "TICKETS"}, ["ÄSOP"]),
        ({"q": "=sum"}, ["=sum"]),
        ({"q": "ann lost"}, ["lost"]),
        ({"sort": "client"}, ["=sum", "lost", "Zed", "ÄSOP"]),
        ({"sort": "-rank"}, ["=sum", "ÄSOP", "Zed", "lost"]),
        ({"sort": "-change"}, ["Zed", "=sum", "ÄSOP", "lost"]),
        ({"sort": "change"}, ["=sum", "Zed", "ÄSOP", "lost"]),
        ({"sort": "owner"}, ["Zed", "lost", "=sum", "ÄSOP"]),
    ],
)
def test_a_list_is_narrowed_and_sorted_with_blanks_last(query: dict[str, str], clients: list[str]) -> None:
    assert found(PEOPLE, **query) == clients


def test_fifty_are_a_page_and_a_page_beyond_the_last_is_the_last() -> None:
    many = made(*({"id": f"c{at:03}", "owner": "", "rank": str(at + 1)} for at in range(120)))
    pages = [worklist.view(many, Query(page=number)) for number in (1, 2, 3, 4)]
    assert [len(view.places) for view in pages] == [50, 50, 20, 20]
    assert [many.names[view.places[0]] for view in pages] == ["c000", "c050", "c100", "c100"]
    assert {(view.found, view.pages) for view in pages} == {(120, 3)}
    assert (pages[3].query.page, pages[3].first) == (3, 100)
    assert worklist.view(made(), Query()).pages == 1


def test_a_link_keeps_what_was_asked_for_and_goes_to_the_first_page() -> None:
    query = Query(q="a&b", owner=NOBODY, sort="-risk", page=3)
    assert query.link() == "?q=a%26b&owner=+&sort=-risk"
    assert query.link(page=4) == "?q=a%26b&owner=+&sort=-risk&page=4"
    assert worklist.asked({k: v[0] for k, v in parse_qs(query.link(page=3)[1:]).items()}) == query


def test_a_heading_sorts_by_its_column_and_the_other_way_round_when_asked_again() -> None:
    assert Query().turned("risk") == "?sort=-risk"
    assert Query(sort="-risk").turned("risk") == "?sort=risk"
    assert Query(sort="risk").turned("risk") == "?sort=-risk"
    assert Query(sort="client").turned("client") == "?sort=-client"
    assert Query(sort="-risk").direction("risk") == "descending"
    assert Query().direction("rank") == "ascending" and Query().direction("risk") == ""


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"band": "huge"}, "band must be one of high, medium, low."),
        ({"status": "angry"}, "status must be one of listed, new, "),
        ({"sort": "--risk"}, "sort must be one of rank, client, "),
        ({"sort": "__class__"}, "sort must be one of "),
        ({"page": "0"}, "page must be a whole number from 1 on."),
        ({"page": "-1"}, "page must be"),
        ({"page": "٣"}, "page must be"),
        ({"page": "1" * 5000}, "page must be"),
        ({"limit": "5"}, "This list can be asked for by q, owner, band, status, sort, page."),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    query: dict[str, str], sentence: str, client: FlaskClient
) -> None:
    with pytest.raises(Refused, match=re.escape(sentence)):
        worklist.asked(query)
    assert sentence in page(client, f"/?{next(iter(query))}={next(iter(query.values()))}", 400).text


# ----------------------------------------------------------------------------------------- the page of today


def test_the_first_page_of_the_list_is_the_most_urgent_fifty(client: FlaskClient) -> None:
    names = [each["corporation"] for each in clients_of(client)]
    assert listed(client) == names[:50]
    assert listed(client, "?page=2") == names[50:100]
    assert f"1–50 of {len(names):,} clients" in page(client, "/").text


def test_the_list_is_narrowed_as_the_query_says_and_as_risk_does(client: FlaskClient) -> None:
    everybody = clients_of(client)
    for key, column, value in (
        ("band", "risk_band", "high"),
        ("owner", "manager", "Bo"),
        ("status", "status", "steady"),
    ):
        wanted = [each["corporation"] for each in everybody if each[column] == value]
        assert wanted and listed(client, f"?{key}={value}") == wanted[:50]
    by_loss = sorted(
        (each for each in everybody if each["expected_loss"] is not None),
        key=lambda each: (-each["expected_loss"], each["rank"]),
    )
    assert listed(client, "?sort=-loss") == [each["corporation"] for each in by_loss[:50]]
    assert listed(client, "?q=CLIENT05003") == ["client05003"]
    assert "No client that matches, of " in page(client, "/?q=nobody+at+all").text


def test_the_page_says_how_things_stand_what_changed_and_how_it_went(
    client: FlaskClient, served: Project
) -> None:
    shown, report = page(client, "/"), json.loads(served.read("models/report.json"))
    assert report["status"]["verdict"] in shown.text
    assert f"Next command: {report['status']['next_command']}" in shown.text
    for finding in report["status"]["findings"]:
        assert " ".join(finding["sentence"].split()) in shown.text
    assert f"(run {report['changed']['since']['run']})" in shown.text
    assert "Newly at risk nobody Risen nobody" in shown.text
    titles = [course["title"] for course in report["operations"]["courses"]]
    for title in titles:
        assert title[:1].upper() + title[1:] in shown.text
    drawn = [svg["aria-label"] for svg in shown.all("svg", role="img")]
    assert len(drawn) == len(titles) and all("between" in alt for alt in drawn)


def test_programs_get_the_index_and_browsers_the_page_from_the_same_place(client: FlaskClient) -> None:
    for accept in ("*/*", "application/json", "application/json, text/html;q=0.9", ""):
        answer = client.get("/", headers={"Accept": accept})
        assert "GET /clients/{id}" in answer.get_json()["endpoints"]
        assert answer.headers["Vary"] == "Accept, Accept-Encoding"
    for accept in (BROWSER["Accept"], "text/html", "application/json;q=0.5, text/html"):
        answer = client.get("/", headers={"Accept": accept})
        assert answer.mimetype == "text/html" and answer.headers["Vary"] == "Accept, Accept-Encoding"


def test_a_page_loads_nothing_and_runs_nothing(client: FlaskClient) -> None:
    name = site.link(clients_of(client)[0]["corporation"])
    for place, status in (("/", 200), (name, 200), ("/nowhere", 404), ("/?page=x", 400)):
        answer = client.get(place, headers=BROWSER)
        assert answer.status_code == status
        policy = dict(
            part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";")
        )
        style = re.search("<style>(.*?)</style>", answer.text, re.S)
        assert style
        digest = b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert policy == {
            "default-src": "'none'",
            "style-src": f"'sha256-{digest}'",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        shown = Page(answer)
        assert not shown.all("script") and not shown.all("link") and not shown.all("img")
        assert not any({"style", "onclick", "onload"} & attributes.keys() for _, attributes in shown.elements)
        places = [attributes.get("href", attributes.get("action", "")) for _, attributes in shown.elements]
        assert all(urlsplit(each).netloc == "" and urlsplit(each).scheme == "" for each in places)


def test_a_page_can_be_used_without_seeing_it(client: FlaskClient) -> None:
    for place in ("/", site.link(clients_of(client)[0]["corporation"]), "/nowhere"):
        shown = Page(client.get(place, headers=BROWSER))
        assert shown.all("html", lang="en") and len(shown.all("main")) == len(shown.all("h1")) == 1
        assert shown.all("a", **{"class": "skip", "href": "#main"}) and shown.all("main", id="main")
        levels = [int(tag[1]) for tag, _ in shown.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
        ids = [attributes["id"] for _, attributes in shown.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes in shown.elements:
            assert attributes.get("aria-labelledby", ids[0]) in ids
        fields = [
            each for tag in ("input", "select") for each in shown.all(tag) if each.get("type") != "hidden"
        ]
        labels = {each["for"] for each in shown.all("label")}
        assert {each["id"] for each in fields} == labels


def test_before_anything_was_reported_the_page_says_what_to_do(tmp_path: Path) -> None:
    project = Project(tmp_path)
    shown = page(face.create_app(project.config()).test_client(), "/")
    assert "Act now" in shown.text and "There is no list yet." in shown.text
    assert re.search(r"There is no report, or no list, that can be read\. ?python reporting.py", shown.text)
    assert "No run has finished yet." in shown.text


def test_a_list_of_another_version_is_refused_and_the_server_goes_on(own: Project) -> None:
    client = face.create_app(own.config()).test_client()
    whole = own.read("models/risklist.csv")
    for broken in (whole.replace("act_by", "act_until", 1), whole.replace(",high,1,", ",high,first,", 1)):
        own.write("models/risklist.csv", broken)
        assert (
            "of another version or config, or was changed. Run: python reporting.py"
            in page(client, "/", 503).text
        )
        assert client.get("/clients/client00001").status_code == 503
    own.write("models/risklist.csv", whole)
    page(client, "/")
    own.write("models/report.json", "{}")
    assert "There is no report, or no list, that can be read." in page(client, "/").text


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"value": None, "carry": ["worth"]}, 200),
        ({"value": "price"}, 200),
        ({"target": "gone"}, 200),
        ({"owner": "boss"}, 503),
        ({"id": "name"}, 503),
    ],
)
def test_a_config_that_was_changed_since_the_list_was_made_breaks_no_page(
    own: Project, changed: dict[str, Any], status: int
) -> None:
    own.configure(**{**settings("logistic"), "clients": {**CLIENTS, **changed}})
    client = face.create_app(own.config()).test_client()
    for place in ("/", "/clients/client05003"):
        shown = page(client, place, status)
        assert ("of another version or config" in shown.text) is (status == 503)


def test_no_client_at_all_is_a_list_too(own: Project) -> None:
    header = own.read("models/risklist.csv").splitlines()[0]
    own.write("models/risklist.csv", f"{header}\n")
    client = face.create_app(own.config()).test_client()
    assert "No client" in page(client, "/").text
    assert client.get("/clients/client00001").status_code == 404


# -------------------------------------------------------------------------------------------------- a client


@pytest.mark.parametrize("candidate", ["logistic", "spline"])
def test_all_reasons_add_up_to_the_risk_of_every_client(
    candidate: str, project: Project, served: Project
) -> None:
    if candidate == "logistic":
        project = served
    else:
        through_the_stages(project, "constant", candidate)
    client = face.create_app(project.config()).test_client()
    everybody = clients_of(client)
    for each in everybody:
        told = client.get(site.link(each["corporation"])).get_json()
        assert told["client"] == each
        if each["status"] == "not_scored":
            assert (told["base"], told["log_odds"], told["reasons"], told["note"]) == (None, None, [], None)
            continue
        total = told["base"] + math.fsum(reason["effect"] for reason in told["reasons"])
        assert total == pytest.approx(told["log_odds"], abs=1e-9)
        assert 1 / (1 + math.exp(-total)) == pytest.approx(each["probability"], abs=1e-6)
        assert {reason["feature"] for reason in told["reasons"]} == {
            *("lastmonth_activity", "lastyear_activity", "number_of_employees", "sector")
        }
        strongest = [reason["sentence"] for reason in told["reasons"] if reason["effect"] > 0][:3]
        assert [each[f"reason_{place}"] for place in (1, 2, 3)] == strongest + [""] * (3 - len(strongest))
    assert len(everybody) == 60 + len(HOSTILE) + 1 + 300 - sum(row.endswith(",1") for row in rows(300))


def test_a_client_of_any_name_has_a_page_and_the_page_its_name(server: Server, client: FlaskClient) -> None:
    names = {each["corporation"] for each in clients_of(client)}
    assert set(HOSTILE) <= names
    for name in HOSTILE:
        told = server.get(site.link(name))
        assert told.status_code == 200, (name, told.text)
        assert told.json()["client"]["corporation"] == name
        shown = Page(server.get(site.link(name), headers=BROWSER))
        assert " ".join(name.split()) in shown.text
        assert not shown.all("script")


def test_answers_about_a_client_name_release_threshold_and_time(client: FlaskClient) -> None:
    risk = client.get("/risk?limit=1").get_json()
    told = client.get(site.link(risk["clients"][0]["corporation"])).get_json()
    for key in answers.NAMED:
        assert told[key] == risk[key]
    assert (told["threshold_from"], told["note"]) == ("f1", None)


def test_the_history_is_what_each_kept_list_said(client: FlaskClient, served: Project) -> None:
    kept = keptlists.kept(served.config().reports).lists
    assert [one.run for one in kept] == ["a-run", "b-run"]
    for name in ("client05003", HOSTILE[3], "empty"):
        told = client.get(site.link(name)).get_json()
        for stand, one in zip(told["history"], kept, strict=True):
            row = one.rows[one.names.index(name)]
            probability = float(row["probability"])
            wanted = None if math.isnan(probability) else probability
            assert (stand["run"], stand["at"], stand["release"]) == (one.run, one.scored_at, one.release)
            assert (stand["probability"], stand["rank"]) == (wanted, int(row["rank"]) or None)
            assert stand["risk_band"] == (told["client"]["risk_band"] or None)


def test_a_client_who_is_not_on_the_list_is_a_problem_or_a_page(client: FlaskClient) -> None:
    for place in ("/clients/nobody", "/clients/", "/clients/%00", "/clients/%ff", "/clients/a?id=b"):
        answer = client.get(place)
        assert answer.status_code == 404 and answer.mimetype == "application/problem+json"
        assert answer.get_json()["detail"].startswith("No client of that id is on the list")
        assert "No client of that id is on the list" in page(client, place, 404).text


def test_a_client_who_has_left_is_told_when_it_was_last_listed(own: Project) -> None:
    own.dataset("c.csv", ["client05003,1,9,5,trade,Ann,3,1"], COLUMNS)
    config = own.config(run="c-run")
    servers.stage.step(config, "ingestion", ingestion.run)
    servers.stage.step(config, "reporting", reporting.run)
    detail = face.create_app(config).test_client().get("/clients/client05003").get_json()["detail"]
    assert "It was last on the list of " in detail and "(run b-run)" in detail


def test_a_page_of_a_client_shows_the_sum(client: FlaskClient) -> None:
    name = clients_of(client)[0]["corporation"]
    told, shown = client.get(site.link(name)).get_json(), page(client, site.link(name)).text
    assert f"{told['base']:+.2f} at the start" in shown
    assert f"{told['log_odds'] - told['base']:+.2f} in all steps, {told['log_odds']:+.2f} at the end" in shown
    for reason in told["reasons"]:
        assert f"{reason['effect']:+.2f}" in shown
    assert "Activity last month" in shown and "associated with higher risk; whether it is a cause" in shown
    assert "because" not in shown


def test_a_list_is_explained_by_the_release_that_made_it(own: Project) -> None:
    config = own.config()
    client = face.create_app(config).test_client()
    before = client.get("/clients/client05003").get_json()
    servers.stage.step(
        own.config(run="c-run", force=True), "deployment", lambda c: deployment.deploy(c, "again")
    )
    after = client.get("/clients/client05003").get_json()
    assert after["reasons"] == before["reasons"] and after["release"] == before["release"]
    live = face.create_app(config).test_client().get("/scoring").get_json()["release"]
    assert live != before["release"]
    assert after["note"] == f"The list was made by release {before['release']}; the live one is {live}."
    assert after["note"] in page(client, "/").text
    assert after["note"] in page(client, "/clients/client05003").text


def test_where_that_release_is_gone_the_reasons_of_the_list_are_shown(own: Project) -> None:
    whole = own.read("models/risklist.csv")
    made_by = next(path.name for path in (own.home / "production_deployment/releases").iterdir())
    own.write("models/risklist.csv", whole.replace(made_by, "000009-abcdef01"))
    client = face.create_app(own.config()).test_client()
    told = client.get("/clients/client05003").get_json()
    assert (told["release"], told["base"], told["reasons"]) == ("000009-abcdef01", None, [])
    assert "is not kept any more" in told["note"]
    shown = page(client, "/clients/client05003").text
    assert "That they add up cannot be shown here." in shown and "is not kept any more" in shown


def test_a_row_that_does_not_give_its_risk_is_not_explained(own: Project) -> None:
    lines = own.read("models/risklist.csv").splitlines(keepends=True)
    at = next(place for place, line in enumerate(lines) if line.startswith("client05003,"))
    probability = lines[at].split(",")[1]
    lines[at] = lines[at].replace(probability, "0.123456", 1)
    own.write("models/risklist.csv", "".join(lines))
    told = face.create_app(own.config()).test_client().get("/clients/client05003").get_json()
    assert told["reasons"] == [] and "does not give the risk beside it" in told["note"]


def test_a_damaged_list_is_missing_from_the_history_and_nothing_else(own: Project) -> None:
    config = own.config()
    client = face.create_app(config).test_client()

    def runs() -> list[str]:
        return [stand["run"] for stand in client.get("/clients/client05003").get_json()["history"]]

    assert runs() == ["a-run", "b-run"]
    place = config.reports / "a-run" / keptlists.NAME
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2] + b"x" + whole[len(whole) // 2 + 1 :])
    assert runs() == ["b-run"]
    place.write_bytes(whole)
    assert runs() == ["a-run", "b-run"]
    place.unlink()
    assert runs() == ["b-run"]


def test_a_column_named_like_one_of_the_list_is_read_from_its_own_place(project: Project) -> None:
    project.configure(clients={"numeric": ["rank", "probability"]}, training={"candidates": ["logistic"]})
    header = "corporation,rank,probability,exited"
    lines = [f"c{i:04d},{i * 7 % 50},{i * 13 % 90},{int(i * 7 % 50 < 20 and i % 9 > 0)}" for i in range(300)]
    project.dataset("a.csv", lines, header)
    project.dataset("t.csv", lines[:60], header, "testdata")
    config = project.config(run="a-run")
    for step in (ingestion, servers.training, servers.scoring, deployment, reporting):
        servers.stage.step(config, step.__name__, step.run)
    told = face.create_app(config).test_client().get("/clients/c0009").get_json()
    values = {reason["feature"]: reason["value"] for reason in told["reasons"]}
    assert values == {"rank": 13.0, "probability": 27.0}
    assert told["client"]["input_rank"] == 13 and told["note"] is None


# -------------------------------------------------------------------------------------------------- drawings


def test_each_bar_begins_where_the_one_before_it_ended() -> None:
    drawn = charts.waterfall(-1.0, [2.0, 0.5, -0.75])
    assert [(bar.start, bar.end) for bar in drawn.bars[1:]] == [
        (bar.end, after.end) for bar, after in zip(drawn.bars, drawn.bars[1:], strict=False)
    ]
    assert (drawn.bars[0].start, drawn.bars[-1].end) == (drawn.start, drawn.end)
    scale = (drawn.bars[0].end - drawn.bars[0].start) / 2.0
    assert drawn.bars[2].end - drawn.bars[2].start == pytest.approx(-0.75 * scale)
    even = next(tick for tick in drawn.ticks if tick.probability == 0.5)
    assert even.at == pytest.approx(drawn.start + 1.0 * scale)


@pytest.mark.parametrize("effects", [[], [0.0], [1e-12], [400.0, -800.0], [0.1] * 300])
def test_every_sum_can_be_drawn(effects: list[float]) -> None:
    drawn = charts.waterfall(-1.5, effects)
    places = [drawn.start, drawn.end, *(bar.at for bar in drawn.bars), *(tick.at for tick in drawn.ticks)]
    assert all(0 <= place <= 100 for place in places)
    assert all(bar.at + bar.width <= 101 for bar in drawn.bars)


def test_no_line_leads_from_one_model_to_another() -> None:
    stands = [
        Stand(str(at), "", release, 0.5, risk, at)
        for at, (release, risk) in enumerate([("a", 0.2), ("a", 0.4), ("b", 0.9), ("b", None), ("b", 0.1)])
    ]
    curve = charts.history(stands)
    assert len(curve.points) == 4
    assert curve.lines == [(curve.points[0], curve.points[1]), (curve.points[2], curve.points[3])]
    assert curve.points[2].y < curve.level < curve.points[1].y  # type: ignore[operator]
    assert charts.history([]) == charts.Curve([], [], None)


def test_the_first_days_are_told_run_by_run() -> None:
    history = [
        {"run": f"r{at}", "stage": stage, "started": f"2026-03-01T06:{at:02}:00Z", "seconds": at + took}
        | {"status": "done" if at != 2 else "failed", "facts": {"f1": 0.5 + at / 100} if took else {}}
        for at in range(60)
        for stage, took in (("scoring", 1), ("training", 0))
    ]
    scores, training = trends.run_by_run(history)
    assert (scores.title, training.title) == ("F1 on the test data", "time of training")
    assert len(scores.periods) == len(training.values) == trends.MOST_RUNS
    assert (scores.periods[-1], scores.values[-1]) == ("2026-03-01T06:59:00Z", 0.5 + 59 / 100)
    assert training.values[-1] == 59
    assert "2026-03-01T06:02:00Z" not in trends.run_by_run(history[:20])[0].periods


def test_a_figure_that_never_moved_is_drawn_in_the_middle() -> None:
    curve = charts.course(Course("rows", "", ["a", "b"], [5, 5], [5, 5], [5, 5]))
    assert {point.y for point in curve.points} == {50}
    one = charts.course(Course("rows", "", ["a"], [5], [4], [6]))
    assert one.points[0].x == 50 and one.lines == []


# ------------------------------------------------------------------------------------------------- the login

KEYS = {"ATTRITION_API_KEYS": "the-first-key, der-schlüssel, predict:for-predictions"}


@pytest.fixture(scope="module")
def keyed(served: Project) -> Iterator[Server]:
    with servers.serving(served.home, workers=2, **KEYS) as running:
        yield running
        log = running.log.read_text()
        assert "Traceback" not in log and "the-first-key" not in log


def log_in(server: Server, key: str, **more: Any) -> Any:
    form = {"key": key, **more.pop("form", {})}
    headers = {"Origin": server.url, **BROWSER, **more.pop("headers", {})}
    return server.post("/login", data=form, headers=headers, allow_redirects=False, **more)


def test_a_browser_without_a_key_is_sent_to_the_login_and_back(keyed: Server) -> None:
    place = "/clients/..%2F..%2Fetc%2Fpasswd?x=1&y=%2F"
    answer = keyed.get(place, headers=BROWSER, allow_redirects=False)
    assert answer.status_code == 303
    wanted = parse_qs(urlsplit(answer.headers["Location"]).query)["next"]
    form = keyed.get(answer.headers["Location"], headers=BROWSER)
    assert form.status_code == 200
    [hidden] = Page(form).all("input", type="hidden", name="next")
    assert [hidden["value"]] == wanted == [place]
    assert "Today's list" not in form.text
    done = log_in(keyed, "the-first-key", form={"next": hidden["value"]})
    assert (done.status_code, done.headers["Location"]) == (303, place)


@pytest.mark.parametrize("key", ["the-first-key", "der-schlüssel"])
def test_the_cookie_opens_pages_on_every_worker_and_holds_no_key(keyed: Server, key: str) -> None:
    done = log_in(keyed, key)
    cookie = done.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert key not in cookie and digest[:16] not in cookie
    for _ in range(12):
        answer = keyed.get("/", headers=BROWSER, cookies=done.cookies)
        assert answer.status_code == 200 and "Log out" in answer.text and "Today's list" in answer.text
    assert keyed.get("/risk", cookies=done.cookies).status_code == 200


def test_a_cookie_opens_nothing_that_another_site_could_misuse(keyed: Server) -> None:
    cookies = log_in(keyed, "the-first-key").cookies
    answer = keyed.post("/prediction", json={"instances": []}, cookies=cookies)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"


def test_behind_a_proxy_that_speaks_https_the_cookie_is_secure(keyed: Server) -> None:
    done = log_in(keyed, "the-first-key", headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in done.headers["Set-Cookie"].split("; ")


def test_whoever_comes_unencrypted_from_elsewhere_is_warned(keyed: Server) -> None:
    for headers, told in (
        ({"Host": "risk.invalid"}, True),
        ({"Host": "127.0.0.1.evil.invalid"}, True),
        ({"Host": "["}, True),
        ({"Host": "localhost:8000"}, False),
        ({"Host": "risk.invalid", "X-Forwarded-Proto": "https"}, False),
        ({}, False),
    ):
        assert ("is not encrypted" in keyed.get("/login", headers={**BROWSER, **headers}).text) is told


def test_a_wrong_key_gets_the_form_again_and_no_cookie(keyed: Server) -> None:
    # a key for predictions alone opens no page
    no_keys = ("wrong", "", "the-first-key,der-schlüssel", "the-first-ke", "x" * 7000, "\0", "🔑")
    for key in (*no_keys, "for-predictions", "predict:for-predictions"):
        answer = log_in(keyed, key)
        assert answer.status_code == 403 and "No such key may look at this." in answer.text
        assert "Set-Cookie" not in answer.headers
    assert log_in(keyed, "x" * 100_000).status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.invalid"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_form_of_another_site_logs_nobody_in_or_out(keyed: Server, headers: dict[str, str]) -> None:
    answer = log_in(keyed, "the-first-key", headers=headers)
    assert answer.status_code == 403 and "Set-Cookie" not in answer.headers
    answer = keyed.post("/logout", headers={"Origin": keyed.url, **BROWSER, **headers}, allow_redirects=False)
    assert answer.status_code == 403 and "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "place",
    [
        "//evil.invalid",
        "///evil.invalid",
        "/\\evil.invalid",
        "\\\\evil.invalid",
        "https://evil.invalid/",
        "javascript:alert(1)",
        "/\t/evil.invalid",
        "\t//evil.invalid",
        "/ok\r\nSet-Cookie: a=b",
        "evil.invalid",
        "",
        "/é",
    ],
)
def test_the_login_leads_to_no_other_place(place: str, keyed: Server) -> None:
    assert sessions.own_place(place) == "/"
    assert log_in(keyed, "the-first-key", form={"next": place}).headers["Location"] == "/"
    assert sessions.own_place("/clients/a%2Fb?x=//y") == "/clients/a%2Fb?x=//y"


def test_logging_out_ends_the_cookie(keyed: Server) -> None:
    cookies = log_in(keyed, "the-first-key").cookies
    headers = {"Origin": keyed.url, **BROWSER}
    done = keyed.post("/logout", headers=headers, cookies=cookies, allow_redirects=False)
    assert (done.status_code, done.headers["Location"]) == (303, "/login")
    assert "Max-Age=0" in done.headers["Set-Cookie"]


def test_programs_are_never_sent_to_the_login(keyed: Server) -> None:
    for path in ("/", "/clients/a", "/risk", "/nowhere"):
        answer = keyed.get(path, allow_redirects=False)
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    bearer = {"Authorization": "Bearer the-first-key"}
    assert keyed.get("/clients/client05003", headers=bearer).json()["client"]["corporation"] == "client05003"
    wrong = keyed.get("/", headers={**BROWSER, "Authorization": "Bearer wrong"}, allow_redirects=False)
    assert wrong.status_code == 401


def client_with(config: Config, keys: str, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setenv("ATTRITION_API_KEYS", keys)
    return face.create_app(config).test_client()


def entered(client: FlaskClient, key: str) -> TestResponse:
    return client.post("/login", data={"key": key}, headers={"Origin": "http://localhost", **BROWSER})


def test_a_session_ends_with_its_key_and_outlives_the_server_and_other_keys(
    served: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = served.config()
    begun = entered(client_with(config, "one,two", monkeypatch), "one").headers["Set-Cookie"].split(";")[0]
    name, _, value = begun.partition("=")
    for keys, status in (("one,two", 200), ("three,one", 200), ("two", 303), ("two,one2", 303)):
        other = client_with(config, keys, monkeypatch)
        other.set_cookie(name, value)
        assert other.get("/", headers=BROWSER).status_code == status


def test_a_session_that_is_old_or_was_touched_is_none(
    served: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(b"key").digest()
    known = sessions.Sessions([digest])
    cookie = known.begin(digest)
    assert known.knows(cookie) and not sessions.Sessions([]).knows(cookie)
    for touched in (
        cookie[:-1],
        f"{cookie}x",
        cookie.upper(),
        "",
        "a.b.c",
        cookie.replace(".", "", 1),
        "é" * 99,
    ):
        assert not known.knows(touched)
    later = time.time() + sessions.SECONDS + 2
    monkeypatch.setattr("time.time", lambda: later)
    assert not known.knows(cookie)


def test_without_keys_there_is_nothing_to_log_in_to(client: FlaskClient) -> None:
    answer = client.get("/login", headers=BROWSER)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert "Log out" not in page(client, "/").text
    assert entered(client, "").status_code == 403


def test_a_page_of_clients_needs_no_pandas(served: Project) -> None:
    code = (
        "import sys, app; from attrition import config;"
        f"c = app.create_app(config.load({str(served.home / 'config.json')!r})).test_client();"
        "places = ('/', '/clients/client05003', '/nowhere');"
        f"print([c.get(place, headers={BROWSER!r}).status_code for place in places]);"
        "print(sorted({'pandas', 'sklearn', 'matplotlib', 'scipy'} & sys.modules.keys()))"
    )
    done = servers.subprocess.run(
        [servers.sys.executable, "-c", code], capture_output=True, text=True, cwd=servers.CHECKOUT, check=True
    )
    assert done.stdout.splitlines() == ["[200, 200, 404]", "[]"]


def test_what_the_scorecard_says_of_a_row_is_what_the_client_is_told(served: Project) -> None:
    card = scorecard.load((served.home / "models/scorecard.json").read_bytes())
    told = clientfile.explained(card, {}, 0.5)
    assert told.reasons == () and "does not give the risk" in told.note
    assert clientfile.explained(card, {}, None) == clientfile.Explained(None, None, (), "f1", "")
