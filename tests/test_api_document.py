"""/openapi.json says what the API does: every answer fits it, the contract and it agree on every row."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

import app as face
from attrition import contract as contracts
from attrition import openapi
from attrition.settings import Clients
from tests import servers
from tests.projects import CHECKOUT, Project
from tests.servers import Server

CLIENTS: Mapping[str, Any] = {
    "id": "corporation",
    "numeric": ["lastmonth_activity", "lastyear_activity", "number_of_employees"],
    "ranges": {"lastmonth_activity": [0, 500], "number_of_employees": [1, None]},
    "words": {"lastmonth_activity": "activity last month"},
}
CONTRACTS: Mapping[str, Mapping[str, Any]] = {
    "classic": {},
    "ranges": {"ranges": {"lastmonth_activity": [0, 500], "number_of_employees": [None, -3]}},
    "categories": {
        "categorical": ["industry", "size"],
        "categories": {"industry": ["Retail", "Energy"], "size": ["1", "2", "01"]},
    },
    "required": {
        "categorical": ["industry", "size"],
        "categories": {"size": ["1", "-2"]},
        "required": ["industry", "size", "lastmonth_activity"],
    },
    "carried": {"carry": ["month"], "value": "yearly_value", "owner": "manager"},
    "derived": {"derived": {"share": "lastmonth_activity / lastyear_activity"}},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Project:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTRITION_PACKAGE_CHECK", "off")
        project = Project(tmp_path_factory.mktemp("served"))
        # few rows a request, so that what the document allows always fits into a body
        api = {"max_rows": 20, "per_minute": 1_000_000}
        project.configure(clients=CLIENTS, api=api)
        servers.pipeline(project)
    return project


@pytest.fixture(scope="module")
def server(served: Project) -> Iterator[Server]:
    with servers.serving(served.home, workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Project) -> FlaskClient:
    return face.create_app(served.config()).test_client()


@pytest.fixture(scope="module")
def document(client: FlaskClient) -> dict[str, Any]:
    told: dict[str, Any] = client.get("/openapi.json").get_json()
    return told


def validator(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})


def content(document: Mapping[str, Any], path: str, status: int, method: str = "get") -> Mapping[str, Any]:
    found: Mapping[str, Any] = document["paths"][path][method]["responses"][str(status)]["content"]
    return found


# ---------------------------------------------------------------------------------------------- answers


def test_the_document_names_every_route_and_no_other(document: Mapping[str, Any]) -> None:
    told = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert told == {f"{route.method} {route.template}" for route in face.ENDPOINTS}
    assert document["openapi"] == "3.1.0"


READ = [route for route in face.ENDPOINTS if route.method == "GET" and not route.within]


@pytest.mark.parametrize("route", READ, ids=[route.path for route in READ])
def test_every_answer_fits_the_document(
    client: FlaskClient, document: Mapping[str, Any], route: openapi.Route
) -> None:
    answer = client.get(route.path)
    assert answer.status_code == 200, answer.text
    told = content(document, route.template, 200)
    assert answer.mimetype in told
    if answer.mimetype == openapi.JSON and route.answers[openapi.JSON]:
        check = validator(document, told[answer.mimetype]["schema"])
        assert list(check.iter_errors(answer.get_json())) == []
        # a schema that took anything would prove nothing
        assert not check.is_valid({})


def test_one_client_fits_the_document(client: FlaskClient, document: Mapping[str, Any]) -> None:
    asked = client.get("/risk?limit=1").get_json()["clients"][0]
    answer = client.get(f"/clients/{next(iter(asked.values()))}")
    assert answer.status_code == 200, answer.text
    check = validator(document, content(document, "/clients/{id}", 200)[openapi.JSON]["schema"])
    assert list(check.iter_errors(answer.get_json())) == []
    assert not check.is_valid({})
    assert answer.get_json()["reasons"]


def test_predictions_and_their_refusals_fit_the_document(
    client: FlaskClient, document: Mapping[str, Any]
) -> None:
    asked: list[Any] = [
        {"filepath": "testdata/missing.csv"},
        {"instances": [{}]},
        {"instances": []},
        {"instances": [{}] * 21},
        [],
    ]
    for path, body in [("/prediction", body) for body in asked] + [("/prediction?explain=x", {})]:
        answer = client.post(path, json=body)
        told = content(document, "/prediction", answer.status_code, "post")["application/problem+json"]
        assert list(validator(document, told["schema"]).iter_errors(answer.get_json())) == []


def test_the_examples_are_answered_as_the_document_says(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    operation = document["paths"]["/prediction"]["post"]
    example = content(document, "/prediction", 200, "post")[openapi.JSON]["examples"]["typical"]["value"]
    bodies = operation["requestBody"]["content"]
    for media in (openapi.JSON, openapi.CSV):
        sent = bodies[media]["examples"]["typical"]["value"]
        data = sent if isinstance(sent, str) else json.dumps(sent)
        answer = client.post("/prediction?explain=1", data=data, content_type=media).get_json()
        assert {**answer, "scored_at": None} == {**example, "scored_at": None}
    (prediction,) = example["predictions"]
    assert (prediction["id"], prediction["warnings"]) == ("Example Ltd", [])


def test_without_a_release_there_is_an_example_all_the_same(project: Project) -> None:
    project.configure(clients=CLIENTS)
    document = face.create_app(project.config()).test_client().get("/openapi.json").get_json()
    body = document["paths"]["/prediction"]["post"]["requestBody"]["content"][openapi.JSON]
    assert body["examples"]["typical"]["value"]["instances"][0]["number_of_employees"] == 1
    assert validator(document, body["schema"]).is_valid(body["examples"]["typical"]["value"])


def test_a_new_release_brings_a_new_document(project: Project) -> None:
    client = face.create_app(project.config()).test_client()
    for threshold in (0.2, 0.7):
        edition = servers.publish(project.config(), threshold)
        document = client.get("/openapi.json").get_json()
        example = content(document, "/prediction", 200, "post")[openapi.JSON]["examples"]["typical"]["value"]
        assert (example["release"], example["threshold"]) == (edition.id, threshold)


def test_only_a_list_with_owners_can_be_asked_for_by_owner(project: Project) -> None:
    for owner in (None, "manager"):
        project.configure(clients={"owner": owner})
        document = face.create_app(project.config()).test_client().get("/openapi.json").get_json()
        names = {parameter["name"] for parameter in document["paths"]["/risk"]["get"]["parameters"]}
        assert names == {"limit", "band", "status", *(["owner"] if owner else [])}


# ---------------------------------------------------------------------------------------------- rows


def values(column: str, clients: Clients) -> Any:
    """Values near what a contract says of a column, and others of every type."""
    low, high = clients.ranges.get(column, (0, 1))
    edges = [edge for edge in (low, high) if edge is not None] or [0]
    near = [edge + step for edge in edges for step in (-1, -0.5, 0, 0.5, 1)]
    known = [*clients.categories.get(column, ()), "", "Retail", "x", "1", "01", 1, 2, -2]
    return st.sampled_from([*near, *known, 1e9, -1e9, 1e9 + 1, 10**400, None, True, False, [], {}, 0.25])


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_document_and_the_contract_agree_on_every_row(name: str) -> None:
    clients = Clients.model_validate_json(json.dumps(CONTRACTS[name]))
    contract = contracts.compiled(clients)
    check = jsonschema_rs.Draft202012Validator(openapi.row(contract))
    columns = [clients.id, *clients.texts, *clients.numbers]
    seen = set()

    @given(
        st.fixed_dictionaries(
            {}, optional={column: values(column, clients) for column in (*columns, "further")}
        )
    )
    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    def agree(row: dict[str, Any]) -> None:
        # 1.0 is an integer to JSON Schema; to the contract no text is a number with a point
        texts = (clients.id, *clients.texts)
        if any(isinstance(row.get(column), float) for column in texts):
            return
        accepted = contract.judge_instance(row).accepted
        seen.add(accepted)
        assert accepted == check.is_valid(row), row

    agree()
    assert False in seen
    assert contract.judge_instance(openapi.example_row(contract, {})).accepted or name == "required"


@pytest.mark.parametrize("name", CONTRACTS)
def test_rows_that_keep_the_contract_keep_the_document_too(name: str) -> None:
    clients = Clients.model_validate_json(json.dumps(CONTRACTS[name]))
    contract = contracts.compiled(clients)
    check = jsonschema_rs.Draft202012Validator(openapi.row(contract))
    kinds: dict[str, Any] = {
        column: st.sampled_from(clients.categories.get(column, ("Retail", "x")))
        for column in (*clients.categorical, *clients.texts, clients.id)
    }
    for column in clients.numbers:
        low, high = contract.limits(column)
        kinds[column] = st.floats(low, high) | st.integers(int(low), int(high))

    @given(st.fixed_dictionaries(kinds))
    @settings(max_examples=50, deadline=None, derandomize=True, database=None)
    def kept(row: dict[str, Any]) -> None:
        assert contract.judge_instance(row).accepted
        assert check.is_valid(row)

    kept()


def test_schemathesis_finds_nothing_against_a_real_server(server: Server, tmp_path: Path) -> None:
    """Examples, edges of every parameter, and made-up requests, allowed and forbidden, by a fixed seed."""
    settings_file = tmp_path / "schemathesis.toml"
    settings_file.write_text(
        "[checks]\n"
        # too large is a refusal as well; a path that fits the pattern names a dataset or none
        'negative_data_rejection.expected-statuses = ["400", "404", "405", "413", "415", "422"]\n'
        'positive_data_acceptance.expected-statuses = ["2xx", "404"]\n'
    )
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings_file), "run"]
    options = ["--seed=1", "--max-examples=25", "--checks=all", "--phases=examples,coverage,fuzzing"]
    options += ["--no-color", "--suppress-health-check=all", "--generation-database=none"]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks",
        "PYTHONPATH": str(CHECKOUT),
    }
    done = subprocess.run(
        [*command, f"{server.url}/openapi.json", *options],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # the document itself is not asked for again
    assert f"Tested: {len(face.ENDPOINTS) - 1}" in done.stdout


# ---------------------------------------------------------------------------------------------- the page


def test_the_page_tells_every_endpoint_and_loads_nothing(
    client: FlaskClient, document: Mapping[str, Any]
) -> None:
    answer = client.get("/docs")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for path in document["paths"]:
        assert f" {path}</code>" in answer.text
    for word in ("<script", "http://", "https://", "src=", "@import", "url(", "style="):
        assert word not in answer.text
    for column in (*CLIENTS["numeric"], "corporation", "activity last month", "Example Ltd"):
        assert column in answer.text


def test_what_config_json_says_is_text_on_the_page(project: Project) -> None:
    project.configure(clients={"words": {"lastmonth_activity": "<script>alert(1)</script>"}})
    page = face.create_app(project.config()).test_client().get("/docs").text
    assert "<script" not in page
    assert "&lt;script&gt;" in page
