"""What goes over the wire: nothing the client has already, and compressed where that pays and is wanted."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

import app as face
from attrition import tables
from tests import servers
from tests.projects import Project

KEPT = ["/scoring", "/summarystats", "/diagnostics", "/risk", "/risk.csv", "/report", "/report.pdf"]
KEPT += ["/report.json", "/openapi.json", "/docs"]
ROW = {"corporation": "abcd", "lastmonth_activity": 12, "lastyear_activity": 100.5, "number_of_employees": 5}


def list_of(clients: int, scored_at: str = "2026-03-01T06:00:00Z") -> str:
    header = ["corporation", "release", "threshold", "scored_at", "risk_band", "status"]
    rows = [[f"client{n}", "000001-x", 0.5, scored_at, "high", "new"] for n in range(clients)]
    return tables.export_text(header, rows)


@pytest.fixture
def small(tmp_path: Path) -> Project:
    """A live release, and kept files as the stages would write them."""
    project = Project(tmp_path)
    servers.publish(project.config(), 0.4)
    project.write("models/risklist.csv", list_of(200))
    project.write("models/risklist.json", '{"scored_at": "2026-03-01T06:00:00Z", "active": 200}')
    project.write("models/diagnostics.json", json.dumps({"run": "one", "summary": {}}))
    project.write("models/report.html", "<p>report</p>" * 500)
    project.write("models/report.json", json.dumps({"status": {}, "list": ["x" * 20] * 500}))
    project.write("models/report.pdf", b"%PDF-1.7 " + os.urandom(5000))
    return project


@pytest.fixture
def client(small: Project) -> FlaskClient:
    return face.create_app(small.config()).test_client()


def tag_of(client: FlaskClient, path: str) -> str:
    tag: str = client.get(path).headers["ETag"]
    return tag


# ---------------------------------------------------------------------------------------------- ETag


@pytest.mark.parametrize("path", KEPT)
def test_what_the_client_has_already_is_not_sent_again(client: FlaskClient, path: str) -> None:
    first = client.get(path)
    assert first.headers["Cache-Control"] == "private, no-cache"
    for known in (first.headers["ETag"], f'"other", {first.headers["ETag"]}', "*"):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert "Content-Type" not in again.headers
    for other in ('"other"', "W/other", "nonsense", ""):
        assert client.get(path, headers={"If-None-Match": other}).data == first.data


@pytest.mark.parametrize("path", KEPT)
def test_every_worker_gives_the_same_answer_the_same_tag(
    client: FlaskClient, small: Project, path: str
) -> None:
    assert tag_of(face.create_app(small.config()).test_client(), path) == tag_of(client, path)


def test_a_new_run_and_a_new_release_are_sent(client: FlaskClient, small: Project) -> None:
    before = {path: tag_of(client, path) for path in KEPT}
    small.write("models/risklist.csv", list_of(3, "2026-03-02T06:00:00Z"))
    changed = {path for path in KEPT if tag_of(client, path) != before[path]}
    assert changed == {"/risk", "/risk.csv"}
    servers.publish(small.config(), 0.7)
    changed = {path for path in KEPT if tag_of(client, path) != before[path]}
    assert changed == {"/risk", "/risk.csv", "/scoring", "/diagnostics", "/openapi.json", "/docs"}


def test_a_fault_of_the_live_release_is_not_hidden_by_a_tag(client: FlaskClient, small: Project) -> None:
    before = tag_of(client, "/diagnostics")
    edition = servers.publish(small.config(), 0.7)
    (edition.folder / "scorecard.json").write_text("{}")
    answer = client.get("/diagnostics", headers={"If-None-Match": before})
    assert "is damaged" in answer.get_json()["serving"]["fault"]


def test_what_is_true_only_now_is_never_stored(client: FlaskClient) -> None:
    answers = [client.get(path) for path in ("/healthz", "/readyz", "/metrics", "/unknown")]
    answers.append(client.post("/prediction", json={"instances": [ROW]}))
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers


# ---------------------------------------------------------------------------------------------- gzip


@pytest.mark.parametrize("path", ["/risk", "/risk.csv", "/report", "/report.json", "/openapi.json", "/docs"])
def test_a_large_answer_is_compressed_for_who_takes_it(client: FlaskClient, path: str) -> None:
    plain = client.get(path)
    packed = client.get(path, headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert int(packed.headers["Content-Length"]) == len(packed.data) < len(plain.data) / 3
    assert packed.headers["ETag"] == plain.headers["ETag"]
    assert "Accept-Encoding" in plain.headers["Vary"]
    assert plain.headers["Vary"] == packed.headers["Vary"]
    assert "Content-Encoding" not in plain.headers


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0", "identity", "x-gzipped-not"])
def test_who_does_not_take_gzip_gets_none(client: FlaskClient, accepted: str) -> None:
    answer = client.get("/risk", headers={"Accept-Encoding": accepted})
    assert "Content-Encoding" not in answer.headers
    assert len(answer.get_json()["clients"]) == 200


@pytest.mark.parametrize("path", ["/healthz", "/scoring", "/report.pdf", "/unknown"])
def test_what_is_small_or_compressed_already_goes_as_it_is(client: FlaskClient, path: str) -> None:
    assert "Content-Encoding" not in client.get(path, headers={"Accept-Encoding": "gzip"}).headers


def test_many_predictions_and_many_faults_are_compressed_too(client: FlaskClient) -> None:
    wrong: Any = {**ROW, "lastmonth_activity": "x"}
    for row, status in ((ROW, 200), (wrong, 422)):
        answer = client.post(
            "/prediction", json={"instances": [row] * 50}, headers={"Accept-Encoding": "gzip"}
        )
        assert (answer.status_code, answer.headers["Content-Encoding"]) == (status, "gzip")
        assert json.loads(gzip.decompress(answer.data))
        if status == 200:
            assert answer.headers["Vary"] == "Accept, Accept-Encoding"


def test_a_head_has_the_headers_of_its_get_and_no_body(client: FlaskClient) -> None:
    head = client.head("/risk")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["ETag"] == tag_of(client, "/risk")
