"""Who is let in: keys with roles, a share of requests a minute, and without keys only this machine."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from flask.testing import FlaskClient

import app as face
from attrition import keys, limits
from attrition.problems import Refused
from tests import servers
from tests.projects import Project, classic_rows

ROW = {"corporation": "abcd", "lastmonth_activity": 12, "lastyear_activity": 100.5, "number_of_employees": 5}
KEYS = "read:a-reader, predict:a-predictor,a-master , old:style,read:,,"


@pytest.fixture
def small(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.dataset("testdata.csv", classic_rows(20), folder="testdata")
    servers.publish(project.config(), 0.4)
    return project


@pytest.fixture
def client(small: Project, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setenv("ATTRITION_API_KEYS", KEYS)
    return face.create_app(small.config()).test_client()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# ---------------------------------------------------------------------------------------------- roles


def test_a_list_of_keys_is_read_with_roles_and_without() -> None:
    assert keys.listed(KEYS) == [
        ("read", "a-reader"),
        ("predict", "a-predictor"),
        ("all", "a-master"),
        # a key that was made before there were roles keeps its colon
        ("all", "old:style"),
    ]
    assert keys.listed(" , read: ,") == []


@pytest.mark.parametrize(
    ("key", "reads", "predicts"),
    [("a-reader", 200, 403), ("a-predictor", 403, 200), ("a-master", 200, 200), ("old:style", 200, 200)],
)
def test_a_key_may_do_what_its_role_says_and_no_more(
    client: FlaskClient, key: str, reads: int, predicts: int
) -> None:
    assert client.get("/scoring", headers=bearer(key)).status_code == reads
    answer = client.post("/prediction", json={"instances": [ROW]}, headers=bearer(key))
    assert answer.status_code == predicts
    for path in ("/", "/openapi.json", "/docs", "/metrics"):
        assert client.get(path, headers=bearer(key)).status_code == 200


def test_a_key_of_the_wrong_role_is_told_which_it_needs(client: FlaskClient) -> None:
    answer = client.get("/risk", headers=bearer("a-predictor"))
    assert (answer.status_code, answer.mimetype) == (403, "application/problem+json")
    assert answer.get_json()["detail"] == "This key may predict only. Send one that may read."


@pytest.mark.parametrize("key", ["read:a-reader", "predict:a-predictor", "read", "", ":", "read:"])
def test_the_role_is_no_part_of_a_key_and_no_key_itself(client: FlaskClient, key: str) -> None:
    assert client.get("/", headers=bearer(key)).status_code == 401


def test_every_route_has_a_role_and_only_two_are_open() -> None:
    roles = {route.path: route.role for route in face.ROUTES}
    assert {path for path, role in roles.items() if role == keys.OPEN} == {"/healthz", "/readyz"}
    assert {path for path, role in roles.items() if role == keys.PREDICT} == {"/prediction"}
    assert {path for path, role in roles.items() if role == keys.LOGIN} == {"/login", "/logout"}
    assert set(roles.values()) == {keys.OPEN, keys.LOGIN, keys.PREDICT, keys.READ, keys.ANY}


# ---------------------------------------------------------------------------------------------- Host


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "localhost:8000",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1",
            "127.0.0.1:8000",
            "127.1.2.3",
        ),
        *("[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]:80"),
    ],
)
def test_without_keys_a_loopback_host_is_answered(small: Project, host: str) -> None:
    client = face.create_app(small.config()).test_client()
    assert client.get("/scoring", headers={"Host": host}).status_code == 200


FOREIGN = [
    *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"),
    *("0.0.0.0", "[::2]", "::1", "localhost:80:80", "localhost@evil", "", "[]", "127.0.0.1:99999999", "a b"),
]


@pytest.mark.parametrize("host", FOREIGN)
def test_without_keys_a_name_that_was_bound_to_this_machine_is_not(small: Project, host: str) -> None:
    client = face.create_app(small.config()).test_client()
    answer = client.get("/scoring", environ_overrides={"HTTP_HOST": host})
    assert (answer.status_code, answer.mimetype) == (421, "application/problem+json")
    assert client.get("/unknown", environ_overrides={"HTTP_HOST": host}).status_code == 421
    assert client.get("/healthz", environ_overrides={"HTTP_HOST": host}).status_code == 200


def test_with_keys_the_host_is_the_proxy_s_matter(client: FlaskClient) -> None:
    answer = client.get("/scoring", headers={**bearer("a-master"), "Host": "attrition.example"})
    assert answer.status_code == 200


# ---------------------------------------------------------------------------------------------- limits


@contextlib.contextmanager
def early_in_a_minute() -> Iterator[None]:
    """A count ends with its minute: what a test counts must not be cut in two."""
    left = 60 - time.time() % 60
    if left < 10:
        time.sleep(left + 0.1)
    yield


def test_a_key_that_had_its_share_waits_and_others_do_not(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTRITION_API_KEYS", KEYS)
    small.configure(api={"per_minute": 5})
    client = face.create_app(small.config()).test_client()
    with early_in_a_minute():
        found = [client.get("/scoring", headers=bearer("a-reader")) for _ in range(8)]
    assert [answer.status_code for answer in found] == [200] * 5 + [429] * 3
    assert 1 <= int(found[-1].headers["Retry-After"]) <= 60
    assert found[-1].mimetype == "application/problem+json"
    assert client.get("/scoring", headers=bearer("a-master")).status_code == 200
    assert client.get("/healthz", headers=bearer("a-reader")).status_code == 200


def test_who_guesses_keys_is_limited_by_address_and_stops_nobody_with_a_key(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTRITION_API_KEYS", KEYS)
    small.configure(api={"per_minute": 5})
    client = face.create_app(small.config()).test_client()
    with early_in_a_minute():
        found = [client.get("/scoring", headers=bearer(f"guess-{n}")).status_code for n in range(7)]
        assert found == [401] * 5 + [429] * 2
        assert client.get("/scoring", headers=bearer("a-reader")).status_code == 200


def test_the_share_is_the_same_however_many_workers_there_are(small: Project) -> None:
    small.configure(api={"per_minute": 30})
    with servers.serving(small.home, workers=3) as server, early_in_a_minute():
        # a connection each, so that every worker gets some of them
        found = [requests.get(f"{server.url}/scoring", timeout=20).status_code for _ in range(40)]
        health = [server.get("/healthz").status_code for _ in range(40)]
    assert found == [200] * 30 + [429] * 10
    assert set(health) == {200}


@pytest.mark.parametrize("later", [60, 3600, -60, -3600], ids=lambda later: f"{later} s later")
def test_a_new_minute_brings_a_new_share_also_where_the_clock_was_set_back(
    monkeypatch: pytest.MonkeyPatch, later: float
) -> None:
    share = limits.Limits(2, keys=1)
    for moment in (1e9, 1e9 + later):
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        share.spend_key(0)
        share.spend_key(0)
        with pytest.raises(Refused) as refused:
            share.spend_key(0)
        assert refused.value.headers["Retry-After"] == str(int(60 - moment % 60) + 1)


# ---------------------------------------------------------------------------------------------- the start


def test_a_server_with_keys_may_be_bound_elsewhere_and_shows_none_of_them(small: Project) -> None:
    with servers.serving(small.home, host="0.0.0.0", ATTRITION_API_KEYS="read:planted-secret") as server:
        assert server.get("/scoring", headers=bearer("planted-secret")).status_code == 200
        assert server.get("/scoring", headers=bearer("wrong-secret")).status_code == 401
        log = server.log.read_text()
    assert "to whoever has a key of ATTRITION_API_KEYS" in log
    assert "secret" not in log
    assert "key 1:read" in log
