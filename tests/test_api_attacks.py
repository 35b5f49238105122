"""Hostile input: whatever is sent, the answer is the one written down, in time, and never a 500."""

import csv
import gzip
import io
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

import app as face
from attrition import bodies, paths
from tests import servers
from tests.projects import CHECKOUT, HEADER, Project, classic_rows
from tests.servers import Answer, Server

ROW = {"corporation": "abcd", "lastmonth_activity": 12, "lastyear_activity": 100.5, "number_of_employees": 5}
TABLE = f"{HEADER.removesuffix(',exited')}\n"
LINE = "abcd,12,100.5,5\n"
LIMIT = 20_000
MOST_ROWS = 100
SECRET = "top-secret"
PROMPT = 2.0


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with small limits, and traps in its test folder."""
    api = {"max_body_bytes": LIMIT, "max_rows": MOST_ROWS}
    project = Project(tmp_path_factory.mktemp("attacked"), {"api": api})
    servers.publish(project.config(), 0.4)
    project.dataset("ok.csv", classic_rows(20), folder="testdata")
    project.dataset("inner.csv", classic_rows(20), folder="testdata/sub/deeper")
    project.write("secret.csv", SECRET)
    project.write(".env", SECRET)
    project.write("testdata/notes.txt", SECRET)
    trap = project.home / "testdata"
    (trap / "out.csv").symlink_to(project.home / "secret.csv")
    (trap / "inside.csv").symlink_to("ok.csv")
    (trap / "linked").symlink_to("sub")
    (trap / "loop.csv").symlink_to("loop.csv")
    (trap / "folder.csv").mkdir()
    os.link(project.home / "secret.csv", trap / "hard.csv")
    os.mkfifo(trap / "fifo.csv")
    return project


@pytest.fixture(scope="module")
def server(attacked: Project) -> Iterator[Server]:
    with servers.serving(attacked.home) as running:
        yield running


@pytest.fixture(scope="module")
def client(attacked: Project) -> FlaskClient:
    return face.create_app(attacked.config()).test_client()


def problem(answer: requests.Response | Answer, status: int, *statuses: int) -> dict[str, Any]:
    found = answer.status if isinstance(answer, Answer) else answer.status_code
    content = answer.body if isinstance(answer, Answer) else answer.content
    assert found in (status, *statuses), content
    assert answer.headers["content-type"] == "application/problem+json"
    for word in ("Traceback", str(CHECKOUT), "/tmp/", SECRET):
        assert word.encode() not in content
    body: dict[str, Any] = json.loads(content)
    assert body["status"] == found
    return body


def raw(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers])
    return f"{head}\r\n\r\n".encode("latin-1") + body


def chunked(body: bytes, size: int = 4096) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


JSON = "Content-Type: application/json"
GOOD = json.dumps({"instances": [ROW]}).encode()


# ---------------------------------------------------------------------------------------------- HTTP


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE", "FOO"])
def test_another_method_gets_405_and_the_allowed_one(server: Server, method: str) -> None:
    answer = server.send(raw(method, "/prediction"))
    problem(answer, 405)
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_what_is_only_read_cannot_be_written(server: Server, method: str) -> None:
    answer = server.send(raw(method, "/scoring", "Content-Length: 0"))
    problem(answer, 405)
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    "path",
    [
        *("/unknown", "/console", "/production_deployment/trainedmodel.pkl", "/prediction/"),
        *(
            "/scoring/../../etc/passwd",
            "/%2e%2e/etc/passwd",
            "/%00",
            "/%ff%fe",
            "/a%0ab",
            "/risk/",
            "/{{7*7}}",
        ),
    ],
)
def test_an_unknown_path_gets_404(server: Server, path: str) -> None:
    problem(server.send(raw("GET", path)), 404)


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "text/xml",
            "",
        ),
        *(
            "application/vnd.x+json",
            "application/json; charset=utf-16",
            "text/csv; charset=latin-1",
            "json",
            ";",
        ),
    ],
)
def test_another_content_type_gets_415(server: Server, kind: str) -> None:
    answer = server.post("/prediction", data=GOOD, headers={"Content-Type": kind})
    problem(answer, 415)
    assert answer.headers["Accept"] == "application/json, text/csv"


def test_a_compressed_body_is_never_inflated(server: Server) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    for coding in ("gzip", "identity", "br"):
        answer = server.post(
            "/prediction", data=bomb, headers={"Content-Type": "text/csv", "Content-Encoding": coding}
        )
        problem(answer, 415)


def _body_of(size: int) -> bytes:
    return GOOD + b" " * (size - len(GOOD))


def test_a_body_may_have_the_limit_and_not_a_byte_more(server: Server) -> None:
    for size, status in ((LIMIT, 200), (LIMIT + 1, 413), (50 * LIMIT, 413)):
        body = _body_of(size)
        length = server.send(raw("POST", "/prediction", JSON, f"Content-Length: {size}", body=body))
        assert length.status == status
        chunks = server.send(
            raw("POST", "/prediction", JSON, "Transfer-Encoding: chunked", body=chunked(body))
        )
        assert chunks.status == status


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
@pytest.mark.parametrize("with_length", [True, False], ids=["length", "chunked"])
def test_who_is_still_sending_reads_the_refusal_all_the_same(
    server: Server, kind: str, with_length: bool
) -> None:
    body = b" " * 3_000_000
    pieces = body if with_length else (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    answer = server.post("/prediction", data=pieces, headers={"Content-Type": kind})
    problem(answer, 413 if kind == "application/json" else 415)


@pytest.mark.parametrize(
    ("headers", "body", "statuses"),
    [
        (["Transfer-Encoding: chunked", "Content-Length: 5"], chunked(GOOD), {400}),
        (["Content-Length: 5", "Content-Length: 6"], GOOD, {400}),
        (["Content-Length: -1"], GOOD, {400}),
        (["Content-Length: 1000000000000000000000"], GOOD, {400, 413}),
        (["Content-Length: " + "9" * 5000], GOOD, {400, 413}),
        (["Content-Length: 9x"], GOOD, {400}),
        (["Transfer-Encoding: xchunked"], GOOD, {400, 501}),
        (["Transfer-Encoding: chunked"], b"zz\r\n" + GOOD, {400}),
        (["Transfer-Encoding: chunked"], b"5\r\nabcdefgh\r\n0\r\n\r\n", {400}),
        (["Transfer-Encoding: chunked"], b"fffffffffffffff\r\nabc", {400}),
        (["Content-Length: 100"], b"short", {400}),
        (["Content-Length: 10", " folded: x"], GOOD, {400}),
        (["X: a\0b", "Content-Length: 10"], GOOD, {400}),
    ],
)
def test_a_malformed_request_gets_its_status(
    server: Server, headers: list[str], body: bytes, statuses: set[int]
) -> None:
    problem(server.send(raw("POST", "/prediction", JSON, *headers, body=body)), *statuses)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (raw("GET", "/" + "x" * 20_000), 414),
        (raw("GET", "/", *(f"X-{n}: y" for n in range(200))), 431),
        (raw("GET", "/", "X: " + "y" * 16_000), 431),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_gunicorn_refuses_what_is_no_http(server: Server, request_bytes: bytes, status: int) -> None:
    problem(server.send(request_bytes + b"\r\n\r\n"), status)


def test_a_refused_body_is_no_request_of_its_own(server: Server) -> None:
    """Neither a body that is not read nor one that is longer than announced is taken for what follows."""
    smuggled = b"GET /scoring HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = f"POST /prediction HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(smuggled)}\r\n"
    for kind in ("text/plain", "application/json", "text/csv"):
        with server.connection() as connection:
            connection.sendall(f"{head}Content-Type: {kind}\r\n\r\n".encode() + smuggled)
            connection.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert received.count(b"HTTP/1.1 ") == 1, received


def test_a_stalled_body_is_waited_for_no_longer_than_said(server: Server) -> None:
    started = time.monotonic()
    with server.connection() as connection:
        connection.sendall(raw("POST", "/prediction", JSON, "Content-Length: 100", body=b"{"))
        first = connection.recv(100)
    assert first.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started < bodies.BODY_SECONDS + PROMPT


def test_a_line_break_in_a_path_forges_no_line_of_the_log(server: Server) -> None:
    for path in ("/a%0aforged", "/risk?band=%0d%0aforged", "/%1b[31mforged"):
        server.send(raw("GET", path))
    server.post("/prediction", json={"filepath": "x\nforged"})
    assert not [line for line in server.log.read_text().splitlines() if line.startswith("forged")]


# ---------------------------------------------------------------------------------------------- JSON

BROKEN_JSON = {
    "empty": b"",
    "half": b'{"instances": [',
    "trailing junk": GOOD + b"x",
    "two documents": GOOD + GOOD,
    "NaN": GOOD.replace(b"12", b"NaN"),
    "Infinity": GOOD.replace(b"12", b"Infinity"),
    "-Infinity": GOOD.replace(b"12", b"-Infinity"),
    "1e999": GOOD.replace(b"12", b"1e999"),
    "5,000 digits": GOOD.replace(b"12", b"9" * 5000),
    "a key twice": GOOD.replace(
        b'"lastmonth_activity": 12', b'"lastmonth_activity": 1, "lastmonth_activity": 2'
    ),
    "the root key twice": b'{"instances": [], ' + GOOD[1:],
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without a mark": GOOD.decode().encode("utf-16-le"),
    "bad UTF-8": GOOD.replace(b"abcd", b"ab\xff\xfe"),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "a NUL": GOOD.replace(b"abcd", b"ab\0"),
    "33 deep": b'{"instances": [{"x": ' + b"[" * 31 + b"]" * 31 + b"}]}",
    "9,000 deep": b'{"instances": ' + b"[" * 9000 + b"]" * 9000 + b"}",
    "9,000 open": b"[" * 9000,
    "3,000 objects deep": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "a list": b"[]",
    "null": b"null",
    "a number": b"3",
    "text": b'"testdata/ok.csv"',
    "no key": b"{}",
    "an unknown key": b'{"rows": []}',
    "a key too many": GOOD[:-1] + b', "explain": 3}',
    "both keys": GOOD[:-1] + b', "filepath": "testdata/ok.csv"}',
    "rows as an object": b'{"instances": {}}',
    "rows as text": b'{"instances": "x"}',
    "rows as null": b'{"instances": null}',
    "a number as path": b'{"filepath": 3}',
    "null as path": b'{"filepath": null}',
    "true as path": b'{"filepath": true}',
    "a list as path": b'{"filepath": ["testdata/ok.csv"]}',
    "an object as path": b'{"filepath": {"a": 1}}',
}


@pytest.mark.parametrize("case", BROKEN_JSON)
def test_json_that_is_none_or_no_question_gets_400(server: Server, case: str) -> None:
    started = time.monotonic()
    answer = server.post("/prediction", data=BROKEN_JSON[case], headers={"Content-Type": "application/json"})
    problem(answer, 400)
    assert time.monotonic() - started < PROMPT


def test_json_nested_100_000_deep_gets_400(small_limits_off: FlaskClient) -> None:
    for body in (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000):
        answer = small_limits_off.post("/prediction", data=body, content_type="application/json")
        assert answer.status_code == 400


@pytest.fixture
def small_limits_off(attacked: Project, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    config = attacked.config()
    roomy = config.settings.api.model_copy(update={"max_body_bytes": 1_048_576})
    settings = config.settings.model_copy(update={"api": roomy})
    return face.create_app(type(config)(config.path, settings)).test_client()


@pytest.mark.parametrize(
    ("row", "column", "code"),
    [
        (3, None, "not_an_object"),
        ("x", None, "not_an_object"),
        (None, None, "not_an_object"),
        ([], None, "not_an_object"),
        ({k: v for k, v in ROW.items() if k != "lastyear_activity"}, "lastyear_activity", "missing_column"),
        ({**ROW, "lastmonth_activity": "12"}, "lastmonth_activity", "wrong_type"),
        ({**ROW, "lastmonth_activity": True}, "lastmonth_activity", "wrong_type"),
        ({**ROW, "lastmonth_activity": None}, "lastmonth_activity", "wrong_type"),
        ({**ROW, "lastmonth_activity": [[1]]}, "lastmonth_activity", "wrong_type"),
        ({**ROW, "corporation": 1.5}, "corporation", "wrong_type"),
        ({**ROW, "corporation": {"a": 1}}, "corporation", "wrong_type"),
        ({**ROW, "lastmonth_activity": -1e10}, "lastmonth_activity", "out_of_range"),
        ({**ROW, "lastmonth_activity": 1e9 + 1}, "lastmonth_activity", "out_of_range"),
        ({**ROW, "lastmonth_activity": 10**400}, "lastmonth_activity", "out_of_range"),
        ({**ROW, "lastmonth_activity": -(10**400)}, "lastmonth_activity", "out_of_range"),
    ],
)
def test_a_wrong_value_gets_422_with_row_and_column(
    client: FlaskClient, row: Any, column: str | None, code: str
) -> None:
    answer = client.post("/prediction", json={"instances": [ROW, row, ROW]})
    assert answer.status_code == 422
    (error,) = answer.get_json()["errors"]
    assert (error["row"], error["column"], error["code"]) == (1, column, code)
    assert error["message"]


def test_every_wrong_value_is_named_up_to_a_hundred(client: FlaskClient) -> None:
    row = {**ROW, "lastmonth_activity": "x", "lastyear_activity": "y"}
    errors = client.post("/prediction", json={"instances": [row] * 3}).get_json()["errors"]
    assert [(e["row"], e["column"]) for e in errors][:2] == [
        (0, "lastmonth_activity"),
        (0, "lastyear_activity"),
    ]
    answer = client.post("/prediction", json={"instances": [row] * 80}).get_json()
    assert len(answer["errors"]) == 100
    assert "160 faults" in answer["detail"]


def test_no_rows_get_422_and_too_many_413(client: FlaskClient) -> None:
    assert client.post("/prediction", json={"instances": []}).status_code == 422
    assert client.post("/prediction", json={"instances": [1] * (MOST_ROWS + 1)}).status_code == 413
    for rows, status in ((0, 422), (MOST_ROWS, 200), (MOST_ROWS + 1, 413)):
        answer = client.post("/prediction", data=TABLE + LINE * rows, content_type="text/csv")
        assert answer.status_code == status


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*ROW, "exited", "filepath", "instances", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries({"instances": st.lists(st.fixed_dictionaries(dict.fromkeys(ROW, json_values)))})
    | json_values
)
@settings(max_examples=200, deadline=None)
def test_no_json_whatever_gets_a_500(client: FlaskClient, asked: Any) -> None:
    answer = client.post("/prediction?explain=3", data=json.dumps(asked), content_type="application/json")
    assert answer.status_code in (200, 400, 404, 413, 422), answer.text


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: (TABLE + text).encode(errors="replace"))
)
@settings(max_examples=200, deadline=None)
def test_no_bytes_whatever_get_a_500(client: FlaskClient, body: bytes) -> None:
    for kind in ("application/json", "text/csv"):
        answer = client.post("/prediction", data=body, content_type=kind)
        assert answer.status_code in (200, 400, 413, 422), answer.text


# ---------------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize("value", [-1, -0.5, 0, 501, 500.5])
def test_a_value_outside_of_its_range_gets_422(tmp_path: Path, value: float) -> None:
    project = Project(tmp_path, {"clients": {"ranges": {"lastmonth_activity": [1, 500]}}})
    servers.publish(project.config(), 0.4)
    client = face.create_app(project.config()).test_client()
    row = {**ROW, "lastmonth_activity": value}
    text = ",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n"
    for answer in (
        client.post("/prediction", json={"instances": [row]}),
        client.post("/prediction", data=text, content_type="text/csv"),
    ):
        (error,) = answer.get_json()["errors"]
        assert (answer.status_code, error["row"], error["column"]) == (422, 0, "lastmonth_activity")


@pytest.mark.parametrize(
    "path",
    [
        *("../x", "../../etc/passwd", "/etc/passwd", "//etc/passwd", "..\\x", "....//x", "..%2fx"),
        *("%2e%2e%2fx", "%252e%252e%252fx", "a\0b", "testdata/ok.csv\0.png", "\ud800", "~/x"),
        *("file:///etc/passwd", "http://127.0.0.1/", "s3://b/x.csv", "ftp://x/y.csv", "", ".", ".."),
        *("．．／x", "testdata／ok.csv", "é.csv", "./testdata/ok.csv", "testdata/ok.csv "),
        *("testdata/../testdata/ok.csv", "testdata/sub/../ok.csv", "testdata//ok.csv", "testdata/ok.csv/"),
        *("-x", "testdata/-x.csv", "x" * 300, "testdata/" * 700, "a/b/c/d/e"),
        *("testdata/ok.csv\r\n", "testdata/ok.csv\n", "${jndi:ldap://x}", "{{7*7}}", "`id`"),
        *("' OR 1=1 --", "$(id)", ".env", "testdata/.env", ".git/config", "C:\\x.csv", "\\\\host\\x"),
        *("/proc/self/environ", "/dev/zero", "testdata/x" + "." * 200),
    ],
)  # fmt: skip
def test_a_path_that_is_no_plain_name_gets_400(server: Server, path: str) -> None:
    problem(server.post("/prediction", json={"filepath": path}), 400)


ABSENT = [
    *("testdata/out.csv", "testdata/inside.csv", "testdata/linked/deeper/inner.csv", "testdata/loop.csv"),
    *("testdata/fifo.csv", "testdata/folder.csv", "testdata/hard.csv", "testdata/missing.csv", "testdata"),
    *("testdata/ok.csv/x.csv", "testdata/notes.txt", "secret.csv", "config.json"),
    *("models/risklist.csv", "production_deployment/scores.csv", "ingesteddata/rejectedrows.csv"),
    "testdata2/ok.csv",
]  # fmt: skip


@pytest.mark.parametrize("openat2", [True, False], ids=["openat2", "by component"])
def test_what_is_no_dataset_of_an_allowed_folder_gets_one_and_the_same_404(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, openat2: bool
) -> None:
    if not openat2:
        monkeypatch.setattr(paths, "_openat2", _unknown_call)
    answers = {client.post("/prediction", json={"filepath": path}).text for path in ABSENT}
    assert len(answers) == 1
    assert json.loads(answers.pop())["status"] == 404


@pytest.mark.parametrize("openat2", [True, False], ids=["openat2", "by component"])
@pytest.mark.parametrize("path", ["testdata/ok.csv", "testdata/sub/deeper/inner.csv"])
def test_a_dataset_below_an_allowed_folder_is_read(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, openat2: bool, path: str
) -> None:
    if not openat2:
        monkeypatch.setattr(paths, "_openat2", _unknown_call)
    assert len(client.post("/prediction", json={"filepath": path}).get_json()["predictions"]) == 20


@pytest.mark.parametrize("openat2", [True, False], ids=["openat2", "by component"])
def test_a_dataset_that_may_not_be_read_gets_the_same_404(
    monkeypatch: pytest.MonkeyPatch, openat2: bool
) -> None:
    if not openat2:
        monkeypatch.setattr(paths, "_openat2", _unknown_call)
    # not below pytest's own folder, which no other user may enter
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        project = Project(Path(folder))
        servers.publish(project.config(), 0.4)
        project.dataset("private.csv", classic_rows(5), folder="testdata").chmod(0)
        project.dataset("inner.csv", classic_rows(5), folder="testdata/locked").parent.chmod(0)
        client = face.create_app(project.config()).test_client()
        client.get("/scoring")
        is_root = os.geteuid() == 0
        try:
            if is_root:
                # root may read anything
                os.seteuid(65534)
            answers = {
                client.post("/prediction", json={"filepath": f"testdata/{name}"}).text
                for name in ("private.csv", "locked/inner.csv", "missing.csv")
            }
        finally:
            if is_root:
                os.seteuid(0)
            (project.home / "testdata/locked").chmod(0o700)
    assert len(answers) == 1
    assert json.loads(answers.pop())["status"] == 404


def _unknown_call(root: int, rest: bytes) -> int:
    raise OSError(38, os.strerror(38))


def test_a_fifo_and_a_link_out_are_refused_by_the_real_server_at_once(server: Server) -> None:
    for path in ("testdata/fifo.csv", "testdata/out.csv", "testdata/hard.csv"):
        started = time.monotonic()
        problem(server.post("/prediction", json={"filepath": path}), 404)
        assert time.monotonic() - started < PROMPT


def test_the_ingested_data_is_read_through_its_current_generation(tmp_path: Path) -> None:
    project = Project(tmp_path)
    servers.publish(project.config(), 0.4)
    client = face.create_app(project.config()).test_client()
    asked = {"filepath": "ingesteddata/finaldata.csv"}
    assert client.post("/prediction", json=asked).status_code == 404
    for name, rows in (("a.csv", 10), ("b.csv", 30)):
        project.dataset(name, classic_rows(rows))
        servers.ingestion.run(project.config())
        assert len(client.post("/prediction", json=asked).get_json()["predictions"]) == rows
    (project.home / "ingesteddata/current/manifest.json").write_text("{}")
    assert "python ingestion.py" in client.post("/prediction", json=asked).get_json()["detail"]


def test_folders_outside_of_the_project_go_by_their_own_name(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "held-out"
    project = Project(tmp_path / "project")
    project.configure(test_data_path=str(elsewhere))
    servers.publish(project.config(), 0.4)
    project.dataset("x.csv", classic_rows(5), folder="../elsewhere/held-out")
    client = face.create_app(project.config()).test_client()
    assert client.post("/prediction", json={"filepath": "held-out/x.csv"}).status_code == 200


def test_a_file_swapped_for_a_link_meanwhile_never_shows_the_secret(
    client: FlaskClient, attacked: Project
) -> None:
    place, over = attacked.home / "testdata/swapped.csv", threading.Event()

    def swap() -> None:
        spare = place.with_name("spare.tmp")
        while not over.is_set():
            spare.symlink_to(attacked.home / "secret.csv")
            spare.replace(place)
            spare.write_text(TABLE + LINE)
            spare.replace(place)
            place.unlink()

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        answers = [client.post("/prediction", json={"filepath": "testdata/swapped.csv"}) for _ in range(150)]
    finally:
        over.set()
        swapper.join()
    assert {answer.status_code for answer in answers} <= {200, 404, 422}
    assert not any(SECRET in answer.text for answer in answers)


# ---------------------------------------------------------------------------------------------- CSV


@pytest.mark.parametrize(
    "text",
    [
        TABLE + LINE,
        (TABLE + LINE).replace("\n", "\r\n"),
        (TABLE + LINE).replace("\n", "\r"),
        (TABLE + LINE).rstrip("\n"),
        "\ufeff" + TABLE + LINE,
        TABLE + '"ab\ncd",12,100,5\n',
        TABLE.strip() + ",more,exited\n" + LINE.strip() + ",x,7\n",
        TABLE + "NA,12,100,5\nNone,12,100,5\nnull,12,100,5\n",
        TABLE + "=cmd|' /C calc'!A0,12,100,5\n",
    ],
)
def test_csv_in_any_usual_form_is_read(client: FlaskClient, text: str) -> None:
    answer = client.post("/prediction", data=text.encode(), content_type="text/csv; charset=UTF-8")
    assert answer.status_code == 200, answer.text


WRONG_CSV = {
    "empty": "",
    "blank lines": "\n\n\n",
    "UTF-16": (TABLE + LINE).encode("utf-16"),
    "UTF-16 without a mark": (TABLE + LINE).encode("utf-16-le"),
    "latin-1": TABLE.encode() + "éé,12,100,5\n".encode("latin-1"),
    "gzip": gzip.compress((TABLE + LINE).encode()),
    "zip": b"PK\x03\x04" + b"x" * 50,
    "a column twice": TABLE.strip() + ",corporation\n" + LINE.strip() + ",x\n",
    "a first row too long": TABLE + LINE.strip() + ",9\n",
    "a trailing comma on each row": TABLE + LINE.replace("\n", ",\n") * 3,
    "a later row too long": TABLE + LINE + LINE.strip() + ",9\n",
    "a later row too short": TABLE + LINE + "abcd,12\n",
    "a blank line between": TABLE + LINE + "\n" + LINE,
    "an open quote": TABLE + '"abcd,12,100,5\n',
    "semicolons": (TABLE + LINE).replace(",", ";"),
    "another case": TABLE.upper() + LINE,
    "a column missing": TABLE.replace(",number_of_employees", "") + "abcd,12,100\n",
    "no id": TABLE + ",12,100,5\n",
    **{
        f"{number!r} as number": TABLE + f'abcd,"{number}",100,5\n'
        for number in (
            *("NaN", "inf", "1e999", "-1e10", "0x10", "1_000", "1,000", "٣", "\u22125", "1e20", "x", "--1"),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_CSV)
def test_csv_that_breaks_the_contract_gets_422_with_the_place(server: Server, case: str) -> None:
    content = WRONG_CSV[case]
    body = content.encode() if isinstance(content, str) else content
    errors = problem(server.post("/prediction", data=body, headers={"Content-Type": "text/csv"}), 422)[
        "errors"
    ]
    assert all({"row", "column", "code", "message"} <= error.keys() for error in errors)


def test_a_wrong_cell_is_named_by_row_line_and_column(client: FlaskClient) -> None:
    text = TABLE + LINE + '"two\nlines",1,2,3\n' + "abcd,x,100,5\n"
    (error,) = client.post("/prediction", data=text, content_type="text/csv").get_json()["errors"]
    assert (error["row"], error["line"], error["column"], error["code"]) == (
        2,
        5,
        "lastmonth_activity",
        "not_a_number",
    )


@pytest.mark.parametrize("header", ["x," * 9_000, "," * 19_000, '"a"",' * 3_000])
def test_a_header_of_thousands_of_columns_is_refused_at_once(server: Server, header: str) -> None:
    started = time.monotonic()
    answer = server.post("/prediction", data=header.encode(), headers={"Content-Type": "text/csv"})
    problem(answer, 422)
    assert time.monotonic() - started < PROMPT


@pytest.mark.parametrize(
    "text",
    ["," * 1_000_000, "x," * 500_000, TABLE + "y" * 1_000_000 + ",12,100,5\n", TABLE + '"' + "y" * 1_000_000],
    ids=["a million columns", "half a million names", "a long field", "a long open quote"],
)
def test_a_megabyte_of_csv_that_is_none_gets_422(small_limits_off: FlaskClient, text: str) -> None:
    answer = small_limits_off.post("/prediction", data=text, content_type="text/csv")
    assert answer.status_code == 422
    assert len(answer.data) < 2000


@pytest.mark.parametrize("first", [*"=+-@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_cell_of_an_export_begins_a_formula(client: FlaskClient, first: str) -> None:
    row = {**ROW, "corporation": f"{first}cmd|' /C calc'!A0"}
    answer = client.post("/prediction", json={"instances": [row]}, headers={"Accept": "text/csv"})
    (line,) = csv.reader(io.StringIO(answer.text.split("\n", 1)[1], newline=""))
    assert line[0] == f"'{row['corporation']}"
    assert float(line[2]) > 0


def test_a_dataset_too_large_to_read_gets_413(
    client: FlaskClient, attacked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "LARGEST", 100)
    assert client.post("/prediction", json={"filepath": "testdata/ok.csv"}).status_code == 413
