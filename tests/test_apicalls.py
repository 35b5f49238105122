"""apicalls.py as the API's example client: it asks a real server everything, and says what is wrong."""

import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import apicalls
import app as face
from attrition import files, releases
from attrition.config import Config
from attrition.errors import ApiError
from tests import servers
from tests.projects import Project, classic_rows
from tests.servers import Server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Project:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTRITION_PACKAGE_CHECK", "off")
        project = Project(tmp_path_factory.mktemp("served"))
        servers.pipeline(project)
    return project


@pytest.fixture(scope="module")
def server(served: Project) -> Iterator[Server]:
    with servers.serving(served.home, ATTRITION_API_KEYS="first,sécond") as running:
        yield running


@pytest.fixture
def config(served: Project, server: Server, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("ATTRITION_API_URL", server.url)
    monkeypatch.setenv("ATTRITION_API_KEYS", "sécond,first")
    return served.config()


@contextmanager
def answering(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """A server that says what it is told; anything else gets an empty object."""

    class Told(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answers.get(self.path.split("?")[0], (200, b"{}"))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            """Silence."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Told) as told:
        threading.Thread(target=told.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{told.server_port}/"
        told.shutdown()


def _document(project: Project) -> dict[str, Any]:
    told: dict[str, Any] = face.create_app(project.config()).test_client().get("/openapi.json").get_json()
    return told


ALIVE = (200, b'{"service": "attrition", "status": "alive", "practice": false}')


def test_every_endpoint_is_asked_with_real_data_and_its_answer_kept(config: Config, served: Project) -> None:
    asked = apicalls.run(config)
    assert set(asked.answers.values()) == {200}
    paths = {question.split()[1].split("?")[0] for question in asked.answers}
    assert {re.sub("^/clients/.+", "/clients/{id}", path) for path in paths} == {
        route.template for route in face.ENDPOINTS
    }
    posted = [question for question in asked.answers if question.startswith("POST")]
    assert posted == [
        "POST /prediction filepath",
        "POST /prediction?explain=3 instances",
        "POST /prediction CSV",
    ]
    kept = served.read("models/apireturns.txt")
    for question in asked.answers:
        assert f"{question}\n200 OK\n" in kept
    assert str(asked) == f"{asked.url} answered 18 questions as it should."


def test_the_kept_answers_are_readable_json(config: Config, served: Project) -> None:
    apicalls.run(config)
    kept = served.read("models/apireturns.txt").split("POST /prediction filepath\n200 OK\n")[1]
    answer = json.loads(kept.split("\n\nPOST")[0])
    assert answer["release"] == releases.require_live(config).id
    assert len(answer["predictions"]) == 120
    assert kept.count("\n") > 120


def test_a_dry_run_asks_and_writes_nothing(config: Config, served: Project) -> None:
    config.api_returns.unlink(missing_ok=True)
    apicalls.run(served.config(dry_run=True))
    assert not config.api_returns.exists()


def test_by_hand_it_tells_in_a_sentence_and_with_json(config: Config, served: Project) -> None:
    done = served.run("apicalls.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("answered 18 questions as it should.\n")
    assert served.json("apicalls.py")["answers"]["GET /scoring"] == 200


def test_without_a_server_it_says_how_to_start_one(project: Project) -> None:
    url = f"http://127.0.0.1:{servers.free_port()}"
    done = project.run("apicalls.py", env={"ATTRITION_API_URL": url})
    assert done.returncode == 7
    assert f"{url}: no server answers. Start one with make serve" in done.stderr


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", ""])
def test_an_address_that_is_none_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("ATTRITION_API_URL", url)
    with pytest.raises(apicalls.NoServer, match="this is no URL. Set ATTRITION_API_URL to one like http"):
        apicalls.run(project.config())


def test_without_test_data_it_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    document = _document(project)
    document["paths"] = {"/prediction": document["paths"]["/prediction"]}
    with answering({"/healthz": ALIVE, "/openapi.json": (200, json.dumps(document).encode())}) as url:
        monkeypatch.setenv("ATTRITION_API_URL", url)
        with pytest.raises(ApiError, match="there is no dataset to ask about"):
            apicalls.run(project.config())


def test_another_program_at_the_address_is_no_server_of_ours(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in ((200, b"{}"), (200, b"hello"), (404, b"")):
        with answering({"/healthz": answer}) as url:
            monkeypatch.setenv("ATTRITION_API_URL", url)
            with pytest.raises(apicalls.NoServer, match="another program answers there"):
                apicalls.run(project.config())


def test_a_practice_run_does_not_ask_the_server_of_production(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering({"/healthz": ALIVE}) as url:
        monkeypatch.setenv("ATTRITION_API_URL", url)
        assert apicalls.no_server(project.config()) is None
        reason = apicalls.no_server(project.config(practice=True))
    assert reason is not None
    assert "does not serve practice. ATTRITION_PRACTICE=1 make serve" in reason


def test_a_server_started_for_practice_serves_practice(project: Project) -> None:
    servers.publish(project.config(practice=True), 0.7)
    with servers.serving(project.home, ATTRITION_PRACTICE="1") as server:
        assert server.get("/scoring").json()["threshold"] == 0.7
        assert server.get("/healthz").json()["practice"] is True


def test_a_missing_key_is_named(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTRITION_API_KEYS")
    with pytest.raises(
        ApiError, match="GET /openapi.json answered 401. Set the environment variable that api.keys_env"
    ):
        apicalls.run(config)


def test_a_failing_endpoint_is_named_with_what_to_do(config: Config, served: Project) -> None:
    report = served.read("models/report.html")
    config.report.unlink()
    with pytest.raises(ApiError, match=r"GET /report answered 503. .* Run: python reporting.py"):
        apicalls.run(config)
    files.write_text(config.report, report)


def test_a_server_of_another_release_is_told_from_ours(
    config: Config, served: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Project(served.home.parent / "other")
    other.dataset("testdata.csv", classic_rows(20), folder="testdata")
    edition = servers.publish(other.config(), 0.7)
    live = releases.require_live(config).id
    with servers.serving(other.home, ATTRITION_API_KEYS="sécond") as server:
        monkeypatch.setenv("ATTRITION_API_URL", server.url)
        with pytest.raises(ApiError, match=f"serves release {edition.id}, but here {live} is live"):
            apicalls.run(config)


def test_a_test_set_with_a_wrong_row_must_get_422_and_is_no_fault(project: Project) -> None:
    project.dataset("testdata.csv", [*classic_rows(5), "abcd,x,1,1,0"], folder="testdata")
    by_name, by_row, by_csv = apicalls.predictions(project.config(), "/prediction")
    assert (by_name.json, by_name.right) == ({"filepath": "testdata/testdata.csv"}, (422,))
    assert (by_row.right, by_csv.right) == ((200,), (200,))


def test_a_server_that_breaks_off_is_an_api_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.dataset("testdata.csv", classic_rows(5), folder="testdata")
    servers.publish(project.config(), 0.4)
    broken = (500, b"<h1>Oops</h1>")
    with answering({"/healthz": ALIVE, "/openapi.json": broken}) as url:
        monkeypatch.setenv("ATTRITION_API_URL", url)
        with pytest.raises(ApiError, match="GET /openapi.json answered 500. Look into the server's log"):
            apicalls.run(project.config())


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((200, b'{"f1": "high"}'), "does not fit /openapi.json: it"),
        ((204, b"{}"), "answered 204. Look into the server's log"),
        ((200, b"[]"), "does not fit /openapi.json: it is no object"),
    ],
)
def test_an_answer_that_is_not_what_the_document_says_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, bytes], fault: str
) -> None:
    document = _document(project)
    document["paths"] = {"/scoring": document["paths"]["/scoring"]}
    answers = {"/openapi.json": (200, json.dumps(document).encode()), "/healthz": ALIVE, "/scoring": answer}
    with answering(answers) as url:
        monkeypatch.setenv("ATTRITION_API_URL", url)
        with pytest.raises(ApiError, match=fault):
            apicalls.run(project.config())


def test_keys_with_roles_are_used_for_what_they_may(served: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    roles = "predict:p-key,read:r-key"
    with servers.serving(served.home, ATTRITION_API_KEYS=roles) as server:
        monkeypatch.setenv("ATTRITION_API_URL", server.url)
        monkeypatch.setenv("ATTRITION_API_KEYS", roles)
        assert set(apicalls.run(served.config()).answers.values()) == {200}
        monkeypatch.setenv("ATTRITION_API_KEYS", "read:r-key")
        with pytest.raises(ApiError, match="POST /prediction filepath answered 401"):
            apicalls.run(served.config())


def test_a_path_with_a_part_is_asked_for_the_first_client_of_the_list(config: Config) -> None:
    api = apicalls.Api(config)
    path = apicalls._path("/clients/{id}", {"parameters": []}, api)
    first = api.ask(apicalls.Question("GET", "/risk", "/risk?limit=1")).json()["clients"][0]
    assert path == f"/clients/{first['corporation']}"
