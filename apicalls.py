"""Ask every endpoint of the running API with real data, check the answers, and write down what it said.

Reads   the API at ATTRITION_API_URL (http://127.0.0.1:8000 by default; the first key where keys are set),
        a dataset of the test folder, the id of the live release
Writes  apireturns.txt

Example: python apicalls.py        (while make serve runs elsewhere)
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests

from attrition import contract as contracts
from attrition import files, keys, paths, releases, sources, stage
from attrition.config import Config
from attrition.errors import ApiError

HERE = "http://127.0.0.1:8000"
SECONDS = 30


class NoServer(ApiError):
    """There is nobody to ask: no server, another program, or one that serves the other mode."""


@dataclass(frozen=True)
class Question:
    """A request and the statuses that are right for it; an answer `about_live` must name the live release."""

    endpoint: str
    json: Any = None
    right: tuple[int, ...] = (200,)
    about_live: bool = False

    def __str__(self) -> str:
        return f"{self.endpoint} {' '.join(self.json or ())}".strip()


@dataclass(frozen=True)
class Asked:
    url: str
    answers: Mapping[str, int]
    status: str = "done"

    def __str__(self) -> str:
        return f"{self.url} answered {len(self.answers)} questions as it should."


def run(config: Config) -> Asked:
    url = _url()
    if reason := no_server(config):
        raise NoServer(reason)
    live = releases.live(config)
    answers, kept = {}, []
    with _session(config) as session:
        for question in questions(config):
            answer = _ask(session, url, question)
            if fault := _fault(question, answer, live.id if live else None):
                raise ApiError(f"{url}: {question} answered {answer.status_code}. {fault}")
            answers[str(question)] = answer.status_code
            kept.append(f"{question}\n{answer.status_code} {answer.reason}\n{_readable(answer)}\n")
    if not config.dry_run:
        files.write_text(config.api_returns, "\n".join(kept))
    return Asked(url, answers)


def no_server(config: Config) -> str | None:
    """Why there is nobody to ask, as a sentence; None where the API answers."""
    url = _url()
    if not url.startswith(("http://", "https://")):
        return f"{url}: this is no URL. Set ATTRITION_API_URL to one like {HERE}."
    try:
        with _session(config) as session:
            found = session.get(f"{url}/healthz", timeout=SECONDS).json()
    except (requests.ConnectionError, requests.Timeout):
        return f"{url}: no server answers. Start one with make serve, or set ATTRITION_API_URL."
    except (requests.RequestException, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("service") != "attrition":
        return f"{url}: another program answers there. Set ATTRITION_API_URL to the API."
    if found.get("practice") is not config.practice:
        wanted = "practice" if config.practice else "production"
        return f"{url}: this server does not serve {wanted}. ATTRITION_PRACTICE=1 make serve serves practice."
    return None


def questions(config: Config) -> Iterator[Question]:
    """Every endpoint, with a dataset of the test folder and a row of it where rows are asked for."""
    name, rows, status = _dataset(config)
    yield Question("GET /")
    yield Question("GET /healthz")
    # "not ready" is an answer too: during the very first run no run has finished yet
    yield Question("GET /readyz", right=(200, 503))
    yield Question("POST /prediction", {"filepath": name}, (status,), about_live=status == 200)
    if rows:
        yield Question("POST /prediction?explain=3", {"instances": rows[:1]}, about_live=True)
    yield Question("GET /scoring", about_live=True)
    for path in ("/summarystats", "/diagnostics", "/risk?limit=5", "/risk.csv?limit=5", "/report"):
        yield Question(f"GET {path}")


def _dataset(config: Config) -> tuple[str, list[dict[str, Any]], int]:
    """The smallest dataset of the test folder: its name, its complete rows, and the status it must get."""
    contract = contracts.compiled(config.clients)
    try:
        found = min(sources.find(config.test_folder), key=lambda file: file.size)
        dataset = sources.read(found)
    except (OSError, ValueError, sources.Unreadable, sources.StillWritten):
        raise ApiError(
            f"{config.test_folder}: there is no dataset to ask about. Put one there, and run again."
        ) from None
    judged = contracts.judge_dataset(contract, dataset, to_predict=True)
    status = 422 if judged.rejected or not dataset.rows else 200
    status = 413 if len(dataset.rows) > config.settings.api.max_rows else status
    folder = next(name for name, place in paths.names(config).items() if place == config.test_folder)
    rows = [{column: row[column] for column in contract.needed(to_predict=True)} for row in judged.rows]
    return f"{folder}/{found.name}", [r for r in rows if all(v == v for v in r.values())], status


def _ask(session: requests.Session, url: str, question: Question) -> requests.Response:
    method, path = question.endpoint.split()
    try:
        return session.request(method, url + path, json=question.json, timeout=SECONDS)
    except requests.RequestException as error:
        raise ApiError(
            f"{url}: {question} got no answer ({type(error).__name__}). Look into the server's log."
        ) from None


def _fault(question: Question, answer: requests.Response, live: str | None) -> str | None:
    """What is wrong with an answer and what to do, or None."""
    if answer.status_code == 401:
        return "Set the environment variable that api.keys_env names to a key of this server."
    said = _said(answer)
    if answer.status_code not in question.right:
        return str(said.get("detail") or "Look into the server's log.")
    if question.about_live and said.get("release") != live:
        return (
            f"It serves release {said.get('release')}, but here {live} is live. Look at /readyz, "
            "or set ATTRITION_API_URL to this project's API."
        )
    return None


def _said(answer: requests.Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {}


def _readable(answer: requests.Response) -> str:
    """JSON with a key, or an entry of a list, on each line; of a page only its size."""
    if answer.headers["Content-Type"].startswith("text/html"):
        return f"({len(answer.content)} bytes of HTML)"
    said = _said(answer)
    if not said:
        return answer.text.rstrip("\n")
    lines = []
    for key, value in said.items():
        if isinstance(value, list) and value:
            entries = ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value)
            lines.append(f" {json.dumps(key)}: [\n  {entries}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _session(config: Config) -> requests.Session:
    session = requests.Session()
    # no proxy stands between two programs of one machine, and no netrc replaces the key
    session.trust_env = False
    if known := keys.listed(os.environ.get(config.settings.api.keys_env, "")):
        session.headers["Authorization"] = b"Bearer " + os.fsencode(known[0][1])
    return session


def _url() -> str:
    return os.environ.get("ATTRITION_API_URL", HERE).rstrip("/")


def main() -> int:
    return stage.enter("apicalls", __doc__, run)


if __name__ == "__main__":
    raise SystemExit(main())
