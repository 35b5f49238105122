"""What an operator sees of the API: counts that no worker loses, lines that nobody forges."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from attrition import exposition, tallies, watching
from attrition.exposition import Metrics
from attrition.watching import Noted
from tests import servers
from tests.projects import Project, classic_rows
from tests.servers import Server

ROW = {"corporation": "Acme", "lastmonth_activity": 12, "lastyear_activity": 100.5, "number_of_employees": 5}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("watched"))
    project.dataset("testdata.csv", classic_rows(20), folder="testdata")
    servers.publish(project.config(), 0.4)
    servers.finished(project.config(run="a-run"))
    return project


@pytest.fixture(scope="module")
def server(watched: Project) -> Iterator[Server]:
    with servers.serving(watched.home, workers=3, ATTRITION_API_KEYS="planted-secret,read:r") as running:
        yield running


KEY = {"Authorization": "Bearer planted-secret"}


def samples(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of /metrics, as Prometheus' own parser reads them."""
    answer = server.get("/metrics", headers=KEY)
    assert answer.headers["Content-Type"] == exposition.MEDIA
    families = list(text_string_to_metric_families(answer.text))
    assert len({family.name for family in families}) == len(families)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def requests_of(found: dict[tuple[str, frozenset[tuple[str, str]]], float], route: str, status: int) -> float:
    labels = frozenset({("route", route), ("status", str(status))})
    return found.get(("attrition_requests_total", labels), 0.0)


def workers_of(server: Server) -> list[int]:
    found = re.findall(r"Booting worker with pid: (\d+)", server.log.read_text())
    return [int(pid) for pid in found if Path(f"/proc/{pid}").exists()]


# ---------------------------------------------------------------------------------------------- counts


def test_whichever_worker_is_asked_tells_the_sum_of_all(server: Server) -> None:
    before = samples(server)
    for _ in range(30):
        assert server.get("/scoring", headers=KEY).status_code == 200
        assert server.get("/scoring").status_code == 401
        server.post("/prediction", json={"instances": [ROW] * 3}, headers=KEY)
        server.get("/no/such/thing", headers=KEY)
    found = [samples(server) for _ in range(6)]
    for after in found:
        for route, status in (("/scoring", 200), ("/scoring", 401), ("/prediction", 200), ("other", 404)):
            assert requests_of(after, route, status) - requests_of(before, route, status) == 30
    bands = [value for (name, _), value in found[-1].items() if name == "attrition_predictions_total"]
    before_bands = [value for (name, _), value in before.items() if name == "attrition_predictions_total"]
    assert sum(bands) - sum(before_bands) == 90


def test_durations_are_a_histogram_that_adds_up(server: Server) -> None:
    server.get("/scoring", headers=KEY)
    found = samples(server)
    buckets = {
        dict(labels)["le"]: value
        for (name, labels), value in found.items()
        if name == "attrition_request_seconds_bucket" and dict(labels)["route"] == "/scoring"
    }
    counts = list(buckets.values())
    assert counts == sorted(counts)
    route = frozenset({("route", "/scoring")})
    assert buckets["+Inf"] == found[("attrition_request_seconds_count", route)]
    assert 0 < found[("attrition_request_seconds_sum", route)] < 10 * buckets["+Inf"]
    asked = [v for (n, labels), v in found.items() if n == "attrition_requests_total" and route <= labels]
    assert sum(asked) == buckets["+Inf"]


def test_the_release_its_age_and_the_last_good_run_are_told(server: Server, watched: Project) -> None:
    found = {name: (dict(labels), value) for (name, labels), value in samples(server).items()}
    release = server.get("/scoring", headers=KEY).json()["release"]
    assert found["attrition_release_info"] == ({"release": release}, 1.0)
    assert found["attrition_release_fault"][1] == 0
    assert 0 <= found["attrition_release_age_seconds"][1] < 600
    assert 0 <= found["attrition_last_good_run_age_seconds"][1] < 600


def test_no_count_is_lost_when_workers_are_killed_and_when_all_are_replaced(server: Server) -> None:
    for _ in range(12):
        server.get("/scoring", headers=KEY)
    before = requests_of(samples(server), "/scoring", 200)
    for pid in workers_of(server)[:2]:
        os.kill(pid, signal.SIGKILL)
    _wait_for(lambda: len(workers_of(server)) == 3)
    assert requests_of(samples(server), "/scoring", 200) == before
    old = set(workers_of(server))
    master = int(Path(f"/proc/{min(old)}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(master, signal.SIGHUP)
    _wait_for(lambda: len(workers_of(server)) == 3 and not old & set(workers_of(server)))
    assert requests_of(samples(server), "/scoring", 200) == before
    for _ in range(12):
        server.get("/scoring", headers=KEY)
    assert requests_of(samples(server), "/scoring", 200) == before + 12


def _wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_labels_are_escaped_and_read_back() -> None:
    odd = 'a "quoted"\\ name\nand a line'
    text = Metrics(["/x"], ["high"]).text([("attrition_x", "X.", {"label": odd}, 1.5)])
    (family,) = (family for family in text_string_to_metric_families(text) if family.name == "attrition_x")
    assert (family.samples[0].labels, family.samples[0].value) == ({"label": odd}, 1.5)


def test_rows_of_tallies_add_up_and_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = tallies.Tallies(3)
    assert counts.totals() == [0, 0, 0]
    for row in (0, 5, tallies.ROWS - 1):
        monkeypatch.setattr(tallies, "_row", row)
        counts.add((0, 1.0), (2, 0.5))
    assert counts.totals() == [3, 0, 1.5]
    assert sorted(counts.shares(2))[-4:] == [0, 0.5, 0.5, 0.5]


# ---------------------------------------------------------------------------------------------- lines


def lines(server: Server) -> list[str]:
    return server.log.read_text().splitlines()


LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (GET|POST|HEAD|OPTIONS|other) (/\S*|other) \d{3} \d+\.\d\d ms "
    r"\d+ bytes, release (\S+), key (\S+)"
)


def test_each_request_is_one_line_with_no_secret_and_nothing_of_a_client(server: Server) -> None:
    before = len(lines(server))
    server.post("/prediction?explain=3", json={"instances": [ROW]}, headers=KEY)
    server.get("/risk?owner=Acme", headers=KEY)
    server.get("/clients-of/Acme", headers=KEY)
    server.get("/scoring", headers={"Authorization": "Bearer planted-secre"})
    told = lines(server)[before:]
    assert len(told) == 4
    assert all(LINE.fullmatch(line) for line in told), told
    assert re.search(r"POST /prediction 200 \S+ ms \d+ bytes, release 000001-\w+, key 1:all$", told[0])
    assert " other 404 " in told[2]
    assert told[3].endswith("key -")
    for word in ("Acme", "secre", "owner", "explain"):
        assert word not in "".join(told)


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /a%0aforged HTTP/1.1",
        b"GET /risk?band=%0d%0aforged HTTP/1.1",
        b"GET /%1b[31mforged HTTP/1.1",
        b"GET /" + b"forged" * 600 + b" HTTP/1.1",
        b"GET /" + b"forged" * 2000 + b" HTTP/1.1",
        b"FORGED /forged HTTP/1.1",
        b"GET /\x1bforged HTTP/1.1",
        b"G\x1bT /forged HTTP/1.1",
        b"GET /forged HTTP/9.forged",
        b"forged",
        b"GET / HTTP/1.1\r\nforged",
        b"GET / HTTP/1.1\r\nX-Forged: a\x00forged",
        b"GET / HTTP/1.1\r\nX-Forged: " + b"forged" * 2000,
        b"GET / HTTP/1.1\r\nAuthorization: Bearer forged\x1b",
        b"GET / HTTP/1.1\r\nUser-Agent: forged",
    ],
)
def test_whatever_is_sent_makes_no_line_of_the_log_but_its_own(server: Server, request_line: bytes) -> None:
    before = len(lines(server))
    answer = server.send(request_line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert 400 <= answer.status < 500
    assert answer.headers["content-type"] == "application/problem+json"
    _wait_for(lambda: len(lines(server)) > before)
    (told,) = lines(server)[before:]
    assert "orged" not in told
    assert "\x1b" not in told
    assert len(told) <= 200


def test_lines_are_json_where_it_is_asked_for_and_none_where_none_are(watched: Project) -> None:
    with servers.serving(watched.home, ATTRITION_API_LOG="json") as server:
        server.get("/scoring")
        server.get("/risk")
        told = [json.loads(line) for line in lines(server) if line.startswith("{")]
    assert told[-2].keys() == {"at", "method", "route", "status", "seconds", "bytes", "release", "key"}
    assert (told[-2]["route"], told[-2]["status"], told[-2]["key"]) == ("/scoring", 200, None)
    assert told[-2]["release"].startswith("000001-")
    assert (told[-1]["route"], told[-1]["status"]) == ("/risk", 503)
    with servers.serving(watched.home, ATTRITION_API_LOG="off") as server:
        server.get("/scoring")
        assert "/scoring" not in server.log.read_text()


def test_a_log_that_nobody_reads_any_more_stops_no_answer() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    tell = watching.teller("text", writer)
    assert tell is not None
    tell(Noted("GET"))
    os.close(writer)
