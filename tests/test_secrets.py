"""Secrets planted in every variable that config.json names are in no file written and in no output."""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args
from urllib.parse import quote

import pytest
import requests
from pydantic import BaseModel

from attrition.settings import Settings
from tests import receivers, servers
from tests.projects import Project, classic_rows
from tests.servers import free_port

# as loud as they can be; a forced tick goes through all stages
COMMANDS = (
    ("ingestion.py", "-v", "--force"),
    ("fullprocess.py", "-v", "--force"),
    ("fullprocess.py", "--json"),
    ("publishing.py", "-v"),
    ("apicalls.py", "-v"),
)
# a word for each that nothing else contains; the mark makes it look for what quoting makes of it
WORDS = {
    "ATTRITION_DATABASE_URL": "Plante-dbword/1",
    "ATTRITION_PUBLISH_URL": "Plante-biword/2",
    "ATTRITION_WEBHOOK_URL": "Plante-hookword/3",
    "ATTRITION_SMTP_URL": "Plante-mailword/4",
    "ATTRITION_PING_URL": "Plante-pingword/5",
    "ATTRITION_API_KEYS": "Plante-apiword/6",
    "PIP_INDEX_URL": "Plante-pipword/7",
}
SETTINGS = {
    "database": {"query": "SELECT * FROM clients", "cursor": "updated_at"},
    "publish": {},
    "alerts": {
        "webhook_env": "ATTRITION_WEBHOOK_URL",
        "ping_env": "ATTRITION_PING_URL",
        "mail_to": "ops@example.org",
    },
}


def named_variables(model: type[BaseModel] = Settings) -> Iterator[str]:
    """Every key of config.json that names an environment variable."""
    for name, field in model.model_fields.items():
        if name.endswith("_env"):
            yield f"{model.__name__}.{name}"
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from named_variables(kind)


def test_every_variable_that_config_names_is_planted() -> None:
    """A new one needs a word in WORDS."""
    assert set(named_variables()) == {
        "Database.url_env",
        "Publish.url_env",
        "Alerts.webhook_env",
        "Alerts.smtp_env",
        "Alerts.ping_env",
        "Api.keys_env",
    }


def spellings(secret: str) -> set[bytes]:
    """As it is, as part of a URL, without what follows the mark, and as SMTP and HTTP send it."""
    forms = {secret, quote(secret, safe=""), secret.split("/")[0]}
    packed = {base64.b64encode(f"\0user\0{secret}".encode()), base64.b64encode(f"user:{secret}".encode())}
    return {form.encode() for form in forms} | packed


def assert_nowhere(secrets: Mapping[str, str], home: Path, printed: str) -> None:
    written = {
        path: path.read_bytes() for path in home.rglob("*") if path.is_file() and not path.is_symlink()
    }
    assert home / "models/log.txt" in written
    for name, secret in secrets.items():
        for spelling in spellings(secret):
            assert spelling not in printed.encode(), f"{name} was printed"
            assert [path for path, data in written.items() if spelling in data] == [], f"{name} was written"


def planted(form: str, port: int) -> dict[str, str]:
    """A value for each variable that holds its word, in one of the forms that end badly."""
    word = {name: quote(secret, safe="") for name, secret in WORDS.items()}
    here = f"127.0.0.1:{port}"
    urls = {
        "ATTRITION_DATABASE_URL": f"postgresql://user:{word['ATTRITION_DATABASE_URL']}@{here}/db",
        "ATTRITION_PUBLISH_URL": f"postgresql://user:{word['ATTRITION_PUBLISH_URL']}@{here}/db",
        "ATTRITION_WEBHOOK_URL": f"http://{here}/{WORDS['ATTRITION_WEBHOOK_URL']}",
        "ATTRITION_SMTP_URL": f"smtp://user:{word['ATTRITION_SMTP_URL']}@{here}",
        "ATTRITION_PING_URL": f"http://{here}/{WORDS['ATTRITION_PING_URL']}",
        "ATTRITION_API_KEYS": f"{WORDS['ATTRITION_API_KEYS']},another",
        "PIP_INDEX_URL": f"http://user:{word['PIP_INDEX_URL']}@{here}/simple",
    }
    if form == "out of reach":
        return urls
    if form == "no url":
        return dict(WORDS)
    if form == "a port that is none":
        return {name: url.replace(here, f"127.0.0.1:{word[name]}") for name, url in urls.items()}
    if form == "a bracket too few":
        return {name: url.replace("127.0.0.1", "[::1") for name, url in urls.items()}
    assert form == "a query"
    databases = ("ATTRITION_DATABASE_URL", "ATTRITION_PUBLISH_URL")
    return urls | {name: f"postgresql://user@{here}/db?password={word[name]}" for name in databases}


FORMS = ("out of reach", "no url", "a port that is none", "a bracket too few", "a query")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a live release, made before anything was planted."""
    project = Project(tmp_path_factory.mktemp("secrets"), SETTINGS)
    project.dataset("a.csv", classic_rows(120))
    project.dataset("test.csv", classic_rows(60, start=1000), folder="testdata")
    project.here = True
    # nobody tells it where the receivers are yet
    project.configure()
    assert project.run("fullprocess.py").returncode == 0
    project.configure(**SETTINGS)
    return project


def run_all(project: Project) -> str:
    """What the scripts printed."""
    done = [project.run(*command) for command in COMMANDS]
    return "\n".join(each.stdout + each.stderr for each in done)


@pytest.mark.parametrize("form", FORMS)
def test_no_secret_is_left_anywhere_when_everything_is_in_trouble(
    ready: Project, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in planted(form, free_port()).items():
        monkeypatch.setenv(name, value)
    ready.write(f"sourcedata/{FORMS.index(form)}.csv", f"no,{form}\n1,2\n")
    printed = run_all(ready)
    # they were tried, and that is told
    assert "ATTRITION_DATABASE_URL" in printed and "ATTRITION_PUBLISH_URL" in printed
    assert "Alerts by webhook" in printed and "Alerts by mail" in printed
    assert_nowhere(WORDS, ready.home, printed)


def test_an_index_with_a_password_is_asked_and_told_without_it(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in planted("out of reach", free_port()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ATTRITION_PACKAGE_CHECK", "on")
    done = ready.run("diagnostics.py", "-v", "--force")
    assert done.returncode == 0, done.stderr
    assert "out of reach" in ready.read("models/packages.json")
    assert_nowhere(WORDS, ready.home, done.stdout + done.stderr)


@pytest.mark.parametrize("behaviour", ["yes", "500"])
def test_no_secret_is_left_anywhere_when_receivers_answer(
    ready: Project, behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailword = WORDS["ATTRITION_SMTP_URL"]
    with receivers.http() as hook, receivers.smtp(receivers.certificate(tmp_path), at_once=True) as mail:
        hook.behaviour, mail.behaviour = behaviour, "no login"
        for name, value in planted("out of reach", hook.port).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(
            "ATTRITION_SMTP_URL", f"smtps://user:{quote(mailword, safe='')}@127.0.0.1:{mail.port}"
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "public.pem"))
        # a database that speaks HTTP would keep its client waiting
        for section in ("DATABASE", "PUBLISH"):
            monkeypatch.setenv(f"ATTRITION_{section}_URL", WORDS[f"ATTRITION_{section}_URL"])
        ready.write(f"sourcedata/{behaviour}.csv", f"no,{behaviour}\n1,2\n")
        done = [ready.run("fullprocess.py", "-v"), ready.run("fullprocess.py")]
    # they did get them
    assert any(WORDS["ATTRITION_WEBHOOK_URL"] in request.path for request in hook.requests)
    assert any(WORDS["ATTRITION_PING_URL"] in request.path for request in hook.requests)
    assert ("user", mailword) in mail.logins
    assert_nowhere(WORDS, ready.home, "".join(each.stdout + each.stderr for each in done))


def test_the_server_writes_no_key_down(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    word = WORDS["ATTRITION_API_KEYS"]
    asked = [
        ("/scoring", {"Authorization": f"Bearer {word}"}),
        ("/scoring", {"Authorization": f"Bearer {word}x"}),
        ("/scoring", {"Authorization": f"Basic {word}"}),
        (f"/nothing/{word}?key={word}", {"Authorization": f"Bearer {word}"}),
        (f"/risk?limit={word}", {"Authorization": f"Bearer {word}"}),
        (f"/clients/{quote(word, safe='')}", {"Authorization": "Bearer another", "X-Key": word}),
    ]
    with servers.serving(ready.home, ATTRITION_API_KEYS=f"{word},another") as server:
        answers = [requests.get(server.url + path, headers=headers, timeout=20) for path, headers in asked]
        monkeypatch.setenv("ATTRITION_API_KEYS", word)
        monkeypatch.setenv("ATTRITION_API_URL", server.url)
        called = ready.run("apicalls.py", "-v")
    assert answers[0].status_code == 200 and answers[1].status_code == 401
    assert all(word not in answer.text for answer in answers[:3])
    assert_nowhere({"ATTRITION_API_KEYS": word}, ready.home, called.stdout + called.stderr)


def test_the_signing_key_is_in_its_own_file_alone(ready: Project) -> None:
    key = ready.read("models/signing.key").strip()
    printed = "".join(
        done.stdout + done.stderr
        for done in (
            ready.run("deployment.py", "-v", "--force"),
            ready.run("deployment.py", "-v", "--new-key", "--json"),
        )
    )
    newer = ready.read("models/signing.key").strip()
    for secret in (key, newer):
        assert secret not in printed
        written = [path for path in ready.home.rglob("*") if path.is_file() and not path.is_symlink()]
        spelt = (secret.encode(), bytes.fromhex(secret))
        held = [path for path in written if any(each in path.read_bytes() for each in spelt)]
        assert held == ([ready.home / "models/signing.key"] if secret == newer else [])
