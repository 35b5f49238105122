"""What the API answers, about which release, to whom: a real gunicorn where it matters."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

import app as face
from attrition import following, ledger, releases, tables
from tests import servers
from tests.projects import CHECKOUT, HEADER, Project, classic_rows
from tests.servers import Server

ROW = {"corporation": "abcd", "lastmonth_activity": 12, "lastyear_activity": 100.5, "number_of_employees": 5}
TESTDATA = {"filepath": "testdata/testdata.csv"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a live release, diagnosed and reported on; tests here leave it as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTRITION_PACKAGE_CHECK", "off")
        project = Project(tmp_path_factory.mktemp("served"))
        servers.pipeline(project)
    return project


@pytest.fixture(scope="module")
def server(served: Project) -> Iterator[Server]:
    with servers.serving(served.home, workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Project) -> FlaskClient:
    return face.create_app(served.config()).test_client()


@pytest.fixture
def small(tmp_path: Path) -> Project:
    """A project of its own with a live release made by hand: cheap, and free to be damaged."""
    project = Project(tmp_path)
    project.dataset("testdata.csv", classic_rows(20), folder="testdata")
    servers.publish(project.config(), 0.4)
    return project


def client_of(project: Project) -> FlaskClient:
    return face.create_app(project.config()).test_client()


def snapshot(project: Project) -> dict[str, tuple[int, int]]:
    return {place: at for place, at in project.snapshot().items() if place != "server.log"}


def problem(answer: Any, status: int) -> dict[str, Any]:
    """The body of a problem, which must be one by RFC 9457 and show nothing of the host."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.text)
    assert body["status"] == status
    assert {"type", "title", "detail"} <= body.keys()
    assert not any(word in answer.text for word in ("Traceback", str(CHECKOUT), "/tmp/", "site-packages"))
    return body


# ---------------------------------------------------------------------------------------------- predictions


def test_a_dataset_rows_and_csv_get_the_same_predictions(server: Server, served: Project) -> None:
    text = served.read("testdata/testdata.csv")
    columns, *lines = (line.split(",") for line in text.splitlines())
    instances = [
        {c: (v if c == "corporation" else float(v)) for c, v in zip(columns, line, strict=True)}
        for line in lines
    ]
    by_name = server.post("/prediction", json=TESTDATA).json()
    by_rows = server.post("/prediction", json={"instances": instances}).json()
    by_csv = server.post("/prediction", data=text, headers={"Content-Type": "text/csv"}).json()
    assert len(by_name["predictions"]) == len(lines)
    assert by_name["predictions"] == by_rows["predictions"] == by_csv["predictions"]


def test_an_answer_names_release_threshold_and_time_and_its_entries_keep_to_them(
    server: Server, served: Project
) -> None:
    answer = server.post("/prediction", json=TESTDATA).json()
    live = releases.require_live(served.config())
    assert (answer["release"], answer["threshold"]) == (live.id, live.scores["threshold"])
    assert answer["threshold_from"] == "f1"
    assert answer["scored_at"].endswith("Z")
    for entry in answer["predictions"]:
        assert entry["prediction"] == int(entry["probability"] >= answer["threshold"])
        assert entry["risk_band"] == ("high" if entry["probability"] >= 0.6 else entry["risk_band"])
    assert {entry["prediction"] for entry in answer["predictions"]} == {0, 1}


def test_one_row_alone_is_scored_as_among_many(client: FlaskClient) -> None:
    rows = [{**ROW, "corporation": i, "lastmonth_activity": 3 * i} for i in range(20)]
    many = client.post("/prediction", json={"instances": rows}).get_json()["predictions"]
    for row, among in zip(rows, many, strict=True):
        (alone,) = client.post("/prediction", json={"instances": [row]}).get_json()["predictions"]
        assert alone == {**among, "probability": pytest.approx(among["probability"], rel=1e-12)}
        assert alone["id"] == row["corporation"]


def test_reasons_come_on_request_strongest_first(small: Project) -> None:
    client = client_of(small)
    (entry,) = client.post("/prediction?explain=2", json={"instances": [ROW]}).get_json()["predictions"]
    first, second = entry["reasons"]
    assert (first["feature"], first["value"], first["typical"]) == ("number_of_employees", 5, 50)
    assert first["effect"] > second["effect"] > 0
    assert "associated with higher risk" in first["sentence"]
    (entry,) = client.post("/prediction", json={"instances": [ROW]}).get_json()["predictions"]
    assert "reasons" not in entry


def test_a_missing_value_is_null_among_the_reasons(small: Project) -> None:
    body = f"{HEADER.removesuffix(',exited')}\nabcd,,100,50\n"
    answer = client_of(small).post("/prediction?explain=1", data=body, content_type="text/csv")
    (reason,) = answer.get_json()["predictions"][0]["reasons"]
    assert (reason["feature"], reason["value"]) == ("lastmonth_activity", None)


@pytest.mark.parametrize("asked", ["0", "11", "-1", "x", "3.0", "", "٣", "9" * 5000])
def test_a_wrong_number_of_reasons_is_refused(client: FlaskClient, asked: str) -> None:
    answer = client.post("/prediction", query_string={"explain": asked}, json={"instances": [ROW]})
    problem(answer, 400)


def test_missing_and_unusual_values_get_a_warning(client: FlaskClient) -> None:
    header, first, second = HEADER.removesuffix(",exited"), "abcd,,100,5", "efgh,90000,100,5"
    answer = client.post("/prediction", data=f"{header}\n{first}\n{second}\n", content_type="text/csv")
    blank, large = answer.get_json()["predictions"]
    assert "missing" in blank["warnings"][0]
    assert "90,000" in large["warnings"][0]


def test_a_broken_rule_is_a_warning_for_rows_and_for_csv(small: Project) -> None:
    small.configure(clients={"rules": ["lastmonth_activity <= lastyear_activity"]})
    client, row = client_of(small), {**ROW, "lastmonth_activity": 200}
    text = f"{','.join(row)}\n{','.join(map(str, row.values()))}\n"
    by_row = client.post("/prediction", json={"instances": [row]}).get_json()["predictions"]
    by_csv = client.post("/prediction", data=text, content_type="text/csv").get_json()["predictions"]
    assert by_row == by_csv
    assert by_row[0]["warnings"] == ["the row breaks the rule lastmonth_activity <= lastyear_activity"]


def test_csv_goes_out_by_negotiation_and_no_cell_of_it_is_a_formula(client: FlaskClient) -> None:
    row = {**ROW, "corporation": "=cmd|' /C calc'!A0"}
    answer = client.post("/prediction?explain=1", json={"instances": [row]}, headers={"Accept": "text/csv"})
    assert answer.mimetype == "text/csv"
    header, line = answer.text.splitlines()
    assert header == (
        "corporation,prediction,probability,risk_band,warnings,reason_1,"
        "release,threshold,threshold_from,scored_at"
    )
    assert line.startswith("'=cmd|")
    answer = client.post("/prediction", json={"instances": [row]}, headers={"Accept": "text/html, */*"})
    assert answer.mimetype == "application/json"


def test_half_a_surrogate_pair_in_a_name_breaks_no_answer(client: FlaskClient) -> None:
    body = json.dumps({"instances": [{**ROW, "corporation": "\ud800x"}]})
    for accept in ("application/json", "text/csv"):
        answer = client.post(
            "/prediction", data=body, content_type="application/json", headers={"Accept": accept}
        )
        assert answer.status_code == 200
        assert "ud800x" in answer.text


@pytest.mark.parametrize("value", [0, 1e9, 1e-300, 999999999.999])
def test_extreme_values_within_the_contract_get_a_probability(client: FlaskClient, value: float) -> None:
    row = {**ROW, "lastmonth_activity": value, "lastyear_activity": value}
    (entry,) = client.post("/prediction?explain=3", json={"instances": [row]}).get_json()["predictions"]
    assert 0 <= entry["probability"] <= 1


# ---------------------------------------------------------------------------------------------- what is read


def test_scoring_gives_the_scores_as_deployed(server: Server, served: Project) -> None:
    answer = server.get("/scoring").json()
    assert answer["f1"] == answer["figures"]["f1"]["value"] == float(served.read("models/latestscore.txt"))
    assert answer["release"] == releases.require_live(served.config()).id
    assert answer["newest"] is None


def test_scoring_gives_the_newest_score_of_this_release_only(small: Project) -> None:
    config = small.config(run="now")
    client, live = client_of(small), releases.require_live(config)
    servers.finished(config, {"release": live.id, "rows": 10, "figures": {"f1": None}})
    servers.finished(config, {"release": "000000-another", "rows": 99, "figures": {}})
    servers.finished(config)
    newest = client.get("/scoring").get_json()["newest"]
    assert newest == {"run": "now", "release": live.id, "rows": 10, "figures": {"f1": None}}


def test_summary_and_diagnostics_are_served_as_they_were_written(server: Server, served: Project) -> None:
    written = json.loads(served.read("models/diagnostics.json"))
    live = releases.require_live(served.config())
    summary = server.get("/summarystats").json()
    assert summary["summary"] == written["summary"]
    assert {"mean", "median", "mode"} <= summary["summary"]["lastmonth_activity"].keys()
    diagnosed = server.get("/diagnostics").json()
    assert diagnosed.pop("serving") == {
        "release": live.id,
        "threshold": live.scores["threshold"],
        "threshold_from": "f1",
        "scored_at": live.scores["scored_at"],
        "fault": None,
    }
    assert diagnosed == written


def test_the_report_is_a_page_that_loads_nothing(server: Server, served: Project) -> None:
    answer = server.get("/report")
    assert answer.content == (served.home / "models/report.html").read_bytes()
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    for path, kind in (("report.pdf", "application/pdf"), ("report.json", "application/json")):
        twin = server.get(f"/{path}")
        assert twin.content == (served.home / "models" / path).read_bytes()
        assert twin.headers["Content-Type"] == kind


@pytest.mark.parametrize(
    ("path", "script"),
    [
        ("/summarystats", "diagnostics.py"),
        ("/diagnostics", "diagnostics.py"),
        ("/risk", "reporting.py"),
        ("/risk.csv", "reporting.py"),
        ("/report", "reporting.py"),
        ("/report.pdf", "reporting.py"),
        ("/report.json", "reporting.py"),
    ],
)
def test_what_was_not_written_yet_is_a_problem_with_the_next_step(
    small: Project, path: str, script: str
) -> None:
    assert f"Run: python {script}" in problem(client_of(small).get(path), 503)["detail"]


def test_a_file_that_somebody_broke_is_a_problem_too(small: Project) -> None:
    client = client_of(small)
    small.write("models/diagnostics.json", "{half")
    problem(client.get("/diagnostics"), 503)
    for broken in ("", "a,b\n", 'corporation,probability\n"x,0.5\n', "a,a\n1\n", b"\xff\xfe"):
        small.write("models/risklist.csv", broken)
        problem(client.get("/risk"), 503)


def test_a_file_written_anew_is_served_anew(small: Project) -> None:
    client = client_of(small)
    for run in ("first", "again"):
        small.write("models/diagnostics.json", json.dumps({"run": run, "summary": {}}))
        assert client.get("/diagnostics").get_json()["run"] == run


def test_the_index_names_every_endpoint(served: Project, client: FlaskClient) -> None:
    named = set(client.get("/").get_json()["endpoints"])
    found = {
        f"{method} {rule}".replace("<path:id>", "{id}")
        for rule in face.create_app(served.config()).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    # what is for browsers alone is no endpoint of a program's
    pages = {"GET /login", "POST /login", "POST /logout", "GET /risklist.csv", "GET /shortlist.csv"}
    assert found - named == pages and named < found


def test_where_the_report_links_to_there_is_something(client: FlaskClient, served: Project) -> None:
    links = re.findall(r'href="(?!#)([^"]+)"', client.get("/report").text)
    assert {"risklist.csv", "shortlist.csv"} <= {*links}
    for link in links:
        answer = client.get(f"/{link}")
        assert (answer.status_code, answer.mimetype) == (200, "text/csv")
        assert answer.data == (served.home / "models" / link).read_bytes()


def test_a_get_writes_nothing(server: Server, served: Project) -> None:
    before = snapshot(served)
    for route in face.ROUTES:
        if route.method == "GET":
            place = route.path.replace("<path:id>", "client00001")
            assert server.get(place).status_code == 200, place
    server.post("/prediction?explain=3", json=TESTDATA)
    server.post("/prediction", data=b"{", headers={"Content-Type": "application/json"})
    assert snapshot(served) == before


def test_the_server_imports_no_stage_no_pandas_and_no_scikit_learn_and_never_unpickles(
    served: Project,
) -> None:
    code = (
        "import sys; from pathlib import Path; from attrition import config; import app\n"
        "found = []\n"
        "sys.addaudithook(lambda event, _: found.append(event) if event == 'pickle.find_class' else None)\n"
        "client = app.create_app(config.load(Path(sys.argv[1]))).test_client()\n"
        "asked = {'filepath': 'testdata/testdata.csv'}\n"
        "assert client.post('/prediction?explain=3', json=asked).status_code == 200\n"
        "for route in app.ROUTES: client.get(route.path)\n"
        "stages = 'ingestion training scoring deployment diagnostics reporting fullprocess attrition.stage'\n"
        "assert len(app.ROUTES) >= 15 and not found\n"
        "import pickle; pickle.loads(pickle.dumps(Path)); assert found, 'the audit hook sees nothing'\n"
        "print(*sorted({'pandas', 'sklearn', 'joblib', 'matplotlib', *stages.split()} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", code, str(served.home / "config.json")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_a_worker_that_answered_everything_has_mapped_neither_pandas_nor_scikit_learn(
    server: Server,
) -> None:
    for route in face.ROUTES:
        if route.method == "GET":
            server.get(route.path)
    server.post("/prediction?explain=3", json=TESTDATA)
    workers = re.findall(r"Booting worker with pid: (\d+)", server.log.read_text())
    mapped = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in workers)
    assert "/numpy/" in mapped
    for library in ("/pandas/", "/sklearn/", "/scipy/", "/matplotlib/", "/duckdb"):
        assert library not in mapped


# ---------------------------------------------------------------------------------------------- the risk list


def test_the_risk_list_is_served_typed_and_in_its_order(client: FlaskClient, served: Project) -> None:
    answer = client.get("/risk").get_json()
    live = releases.require_live(served.config())
    assert (answer["release"], answer["threshold"]) == (live.id, live.scores["threshold"])
    assert answer["scored_at"].endswith("Z")
    probabilities = [entry["probability"] for entry in answer["clients"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert [entry["rank"] for entry in answer["clients"]] == list(range(1, len(probabilities) + 1))
    assert isinstance(answer["clients"][0]["reason_1_value"], int | float)
    assert isinstance(answer["clients"][0]["lastyear_activity"], int | float)
    assert client.get("/risk.csv").text == served.read("models/risklist.csv")


def test_the_risk_list_can_be_asked_for_by_limit_band_and_status(client: FlaskClient) -> None:
    band = client.get("/risk").get_json()["clients"][0]["risk_band"]
    found = client.get(f"/risk?band={band}&limit=3&status=listed").get_json()["clients"]
    assert [entry["risk_band"] for entry in found] == [band] * 3
    assert len(client.get("/risk.csv?limit=3").text.splitlines()) == 4
    assert client.get("/risk?status=not_scored").get_json()["clients"] == []
    assert client.get("/risk?status=not_scored").get_json()["release"]


def test_what_is_said_of_the_whole_list_stands_before_its_clients(
    client: FlaskClient, served: Project
) -> None:
    facts = json.loads(served.read("models/risklist.json"))
    answer = client.get("/risk?limit=1").get_json()
    about = ("active", "at_risk", "at_stake", "since", "changed", "look_back")
    assert {key: answer[key] for key in about} == {key: facts[key] for key in about}
    assert answer["active"] == len(client.get("/risk").get_json()["clients"])
    assert {"previous_probability", "change_points", "suggested_action", "act_by"} <= answer["clients"][
        0
    ].keys()
    for status in ("new", "newly_at_risk", "risen", "recovered", "steady", "not_scored"):
        assert client.get(f"/risk?status={status}").status_code == 200


@pytest.mark.parametrize("facts", ["", "[]", "{", '{"scored_at": "2001-01-01T00:00:00Z", "active": 7}'])
def test_what_is_said_of_another_list_or_cannot_be_read_is_left_out(small: Project, facts: str) -> None:
    small.write(
        "models/risklist.csv",
        tables.export_text(
            ["c", "release", "threshold", "scored_at", "risk_band", "status"],
            [["a", "r", 0.5, "2026-03-01T06:00:00Z", "high", "new"]],
        ),
    )
    small.write("models/risklist.json", facts)
    answer = face.create_app(small.config()).test_client().get("/risk").get_json()
    assert (answer["active"], answer["look_back"], len(answer["clients"])) == (None, None, 1)


def test_the_risk_list_can_be_asked_for_by_owner_and_its_guards_stay_in_the_csv(small: Project) -> None:
    small.configure(clients={"owner": "manager"})
    header = [
        "corporation",
        "probability",
        "risk_band",
        "status",
        "release",
        "threshold",
        "scored_at",
        "manager",
    ]
    named = ["high", "listed", "000001-x", 0.4, "2026-01-01T00:00:00Z"]
    rows = [["a", 0.9, *named, "=Ann"], ["b", 0.8, *named, "Bob"]]
    small.write("models/risklist.csv", tables.export_text(header, rows))
    client = client_of(small)
    (ann,) = client.get("/risk", query_string={"owner": "=Ann"}).get_json()["clients"]
    assert (ann["corporation"], ann["manager"], ann["probability"]) == ("a", "=Ann", 0.9)
    assert client.get("/risk.csv?owner=Bob").text.splitlines()[1].endswith(",Bob")
    assert client.get("/risk.csv").text.splitlines()[1].endswith(",'=Ann")


@pytest.mark.parametrize(
    "query", ["band=hihg", "status=gone", "limit=0", "limit=x", "limit=-1", "owner=Ann", "bnad=high", "band="]
)
def test_a_question_the_list_cannot_answer_is_refused(client: FlaskClient, query: str) -> None:
    problem(client.get(f"/risk?{query}"), 400)


# ---------------------------------------------------------------------------------------------- readiness


def test_a_server_is_ready_when_its_release_is_sound_and_a_good_run_is_fresh(server: Server) -> None:
    answer = server.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["last_good_run"].endswith("Z")
    assert server.get("/healthz").json() == {"service": "attrition", "status": "alive", "practice": False}


def test_a_server_without_a_run_is_not_ready(small: Project) -> None:
    body = problem(client_of(small).get("/readyz"), 503)
    assert body["reasons"] == ["No run has finished yet. Run: python fullprocess.py"]


@pytest.mark.parametrize(("age", "word"), [(31 * 60, "more than 30 minutes ago"), (-3600, "Check the clock")])
def test_a_server_whose_last_good_run_is_old_or_still_to_come_is_not_ready(
    small: Project, age: float, word: str
) -> None:
    client, config = client_of(small), small.config()
    at = time.time() - age
    config.stamp.touch()
    os.utime(config.stamp, (at, at))
    assert word in problem(client.get("/readyz"), 503)["detail"]
    config.stamp.touch()
    assert client.get("/readyz").status_code == 200


def test_a_finished_run_in_the_history_makes_a_server_ready_without_a_stamp(small: Project) -> None:
    servers.finished(small.config())
    small.config().stamp.unlink()
    assert client_of(small).get("/readyz").status_code == 200


def test_a_failed_run_makes_nobody_ready(small: Project) -> None:
    failed = {"run": "r", "stage": "fullprocess", "started": following.now(), "seconds": 1.0}
    ledger.append(small.config().history, {**failed, "status": "failed", "facts": {}})
    problem(client_of(small).get("/readyz"), 503)


# ---------------------------------------------------------------------------------------------- releases


def test_without_a_release_the_next_step_is_told(project: Project) -> None:
    client = client_of(project)
    for answer in (client.post("/prediction", json={"instances": [ROW]}), client.get("/scoring")):
        assert "Run: python fullprocess.py" in problem(answer, 503)["detail"]
    assert client.get("/").get_json()["release"] is None


def test_a_new_release_is_served_by_the_next_request(small: Project) -> None:
    client, config = client_of(small), small.config()
    for threshold in (0.2, 0.7):
        edition = servers.publish(config, threshold)
        answer = client.post("/prediction", json={"instances": [ROW]}).get_json()
        assert (answer["release"], answer["threshold"]) == (edition.id, threshold)
        assert client.get("/scoring").get_json()["threshold"] == threshold


def test_no_answer_mixes_two_releases_while_they_change_under_load(small: Project) -> None:
    config = small.config()
    thresholds = {releases.require_live(config).id: 0.4}
    answers: list[requests.Response] = []
    over = threading.Event()

    def ask(server: Server) -> None:
        with requests.Session() as session:
            while not over.is_set():
                answers.append(session.post(f"{server.url}/prediction", json=TESTDATA, timeout=20))
                answers.append(session.get(f"{server.url}/scoring", timeout=20))

    with servers.serving(small.home, workers=2) as server:
        askers = [threading.Thread(target=ask, args=(server,)) for _ in range(4)]
        for asker in askers:
            asker.start()
        for step in range(25):
            threshold = 0.2 + step / 100
            thresholds[servers.publish(config, threshold).id] = threshold
            time.sleep(0.04)
        over.set()
        for asker in askers:
            asker.join()
    assert {answer.status_code for answer in answers} == {200}
    seen = [answer.json() for answer in answers]
    assert all(answer["threshold"] == thresholds[answer["release"]] for answer in seen)
    for answer in seen:
        for entry in answer.get("predictions", ()):
            assert entry["prediction"] == int(entry["probability"] >= answer["threshold"])
    assert len({answer["release"] for answer in seen}) > 10


def _flip_a_bit(release: Path, name: str = "scorecard.json") -> None:
    data = bytearray((release / name).read_bytes())
    data[len(data) // 2] ^= 1
    (release / name).write_bytes(data)


def _plant_a_pickle(release: Path) -> None:
    (release / "trainedmodel.pkl").write_bytes(b"cposix\nsystem\n(S'touch /tmp/attrition-pwned'\ntR.")


def _link_a_file(release: Path) -> None:
    (release / "scores.json").rename(release.parent / "elsewhere.json")
    (release / "scores.json").symlink_to("../elsewhere.json")


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "a bit of the scorecard": _flip_a_bit,
    "a bit of the model": lambda release: _flip_a_bit(release, "trainedmodel.pkl"),
    "a bit of the manifest": lambda release: _flip_a_bit(release, "manifest.json"),
    "a planted pickle": _plant_a_pickle,
    "a truncated scorecard": lambda release: os.truncate(release / "scorecard.json", 10),
    "no manifest": lambda release: (release / "manifest.json").unlink(),
    "an empty manifest": lambda release: (release / "manifest.json").write_text("{}"),
    "no scores": lambda release: (release / "scores.json").unlink(),
    "a file too many": lambda release: (release / "more.txt").write_text("x"),
    "a link in place of a file": _link_a_file,
    "no release at all": lambda release: release.rename(release.with_name("gone")),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("fresh", [False, True], ids=["running", "just started"])
def test_a_damaged_release_is_not_served_the_last_good_one_is(
    small: Project, damage: str, fresh: bool
) -> None:
    """One that runs has the good one in memory; one just started finds it through the link `previous`."""
    config = small.config()
    servers.finished(config)
    good = releases.require_live(config).id
    small.write("models/diagnostics.json", "{}")
    client = client_of(small)
    if not fresh:
        assert client.get("/scoring").get_json()["release"] == good
    bad = servers.publish(config, 0.9)
    DAMAGES[damage](bad.folder)
    assert client.post("/prediction", json={"instances": [ROW]}).get_json()["release"] == good
    for answer in (client.get("/readyz"), client.get("/diagnostics")):
        assert bad.id in answer.text
        assert f"{good} goes on being served" in answer.text
        assert "python deployment.py --rollback" in answer.text
        assert str(small.home) not in answer.text
    problem(client.get("/readyz"), 503)
    assert not Path("/tmp/attrition-pwned").exists()


def test_a_first_release_that_is_damaged_is_a_problem_with_the_next_step(small: Project) -> None:
    _flip_a_bit(releases.require_live(small.config()).edition.folder)
    detail = problem(client_of(small).post("/prediction", json={"instances": [ROW]}), 503)["detail"]
    assert "is damaged" in detail
    assert "Run: python deployment.py --rollback" in detail


def test_a_release_that_was_put_right_is_served_again(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RETRY_SECONDS", 0.0)
    client, folder = client_of(small), releases.require_live(small.config()).edition.folder
    _flip_a_bit(folder)
    problem(client.get("/scoring"), 503)
    _flip_a_bit(folder)
    assert client.get("/scoring").status_code == 200


def test_a_release_that_reads_columns_the_config_lacks_is_not_served(small: Project) -> None:
    small.configure(clients={"numeric": ["lastmonth_activity"], "categorical": ["number_of_employees"]})
    detail = problem(client_of(small).get("/scoring"), 503)["detail"]
    assert "lastyear_activity, number_of_employees" in detail


# ---------------------------------------------------------------------------------------------- keys


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    project = Project(tmp_path_factory.mktemp("keyed"))
    servers.publish(project.config(), 0.4)
    with servers.serving(project.home, ATTRITION_API_KEYS="the-old-key, the-new-kéy ,") as running:
        yield running


def _with(header: bytes) -> bytes:
    return b"GET /scoring HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n"


@pytest.mark.parametrize("key", ["the-old-key", "the-new-kéy"])
def test_each_of_several_keys_is_good(keyed: Server, key: str) -> None:
    assert keyed.send(_with(b"Authorization: Bearer " + key.encode() + b"\r\n")).status == 200


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Authorization: \r\n",
        b"Authorization: Bearer\r\n",
        b"Authorization: Bearer the-wrong-key\r\n",
        b"Authorization: Bearer the-old-ke\r\n",
        b"Authorization: Bearer the-old-keyy\r\n",
        b"Authorization: Bearer the-old-key, the-new-key\r\n",
        b"Authorization: Basic the-old-key\r\n",
        b"Authorization: bearer the-old-key\r\n",
        b"Authorization: the-old-key\r\n",
        b"Authorization: Bearer \xff\xfe\x80\r\n",
        b"Authorization: Bearer " + b"k" * 7000 + b"\r\n",
        b"X-Key: the-old-key\r\n",
    ],
)
def test_without_a_key_there_is_no_answer(keyed: Server, header: bytes) -> None:
    answer = keyed.send(_with(header))
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"the-old-key" not in answer.body


@pytest.mark.parametrize("path", ["/", "/prediction", "/risk", "/report", "/unknown"])
def test_no_path_but_two_answers_without_a_key(keyed: Server, path: str) -> None:
    assert keyed.get(path).status_code == 401


def test_health_and_readiness_need_no_key(keyed: Server) -> None:
    assert keyed.get("/healthz").status_code == 200
    assert keyed.get("/readyz").status_code == 503


def test_a_server_without_keys_says_that_it_answers_to_this_machine_only(server: Server) -> None:
    assert "ATTRITION_API_KEYS is not set: answering to anybody on this machine" in server.log.read_text()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:8000"])
def test_a_server_without_keys_opens_no_socket_to_other_machines(small: Project, address: str) -> None:
    status, log = servers.start_output(small.home, ATTRITION_BIND=address)
    assert status != 0
    assert "without a key only 127.0.0.1 is served" in log
    assert "Listening" not in log


def test_a_config_may_be_named_relative_to_where_the_server_is_started(small: Project) -> None:
    with servers.serving(small.home, ATTRITION_CONFIG="config.json") as server:
        assert server.get("/scoring").json()["threshold"] == 0.4


def test_a_broken_config_stops_the_server_with_its_sentence(small: Project) -> None:
    small.configure(api={"max_rowz": 3})
    status, log = servers.start_output(small.home)
    assert status != 0
    assert "did you mean 'max_rows'" in log
    assert "Traceback" not in log
