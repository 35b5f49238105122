"""Ask every endpoint of the running API with real data, check the answers, and write down what it said.

The endpoints are those of /openapi.json; each answer must have a status, a media type and a form that it
names. This is an example client as well: copy what you need.

Reads   the API at ATTRITION_API_URL (http://127.0.0.1:8000 by default; with a key of fitting role where
        keys are set), a dataset of the test folder, the id of the live release
Writes  apireturns.txt

Example: python apicalls.py        (while make serve runs elsewhere)
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from attrition import contract as contracts
from attrition import files, fitting, releases, sources, stage, tables
from attrition.config import Config
from attrition.errors import ApiError

if TYPE_CHECKING:
    import requests

HERE = "http://127.0.0.1:8000"
SECONDS = 30
# a longer answer is kept as its size alone
LONGEST_KEPT = 50_000


class NoServer(ApiError):
    """There is nobody to ask: no server, another program, or one that serves the other mode."""


@dataclass(frozen=True)
class Question:
    """A request and the statuses that are right for it; `template` is its path in /openapi.json."""

    method: str
    template: str
    path: str
    json: Any = None
    csv: str | None = None
    right: tuple[int, ...] = (200,)

    def __str__(self) -> str:
        return " ".join([self.method, self.path, *(self.json or ()), *(["CSV"] if self.csv else [])])

    @property
    def is_about_live(self) -> bool:
        return self.template in ("/prediction", "/scoring") and self.right == (200,)


@dataclass(frozen=True)
class Asked:
    url: str
    answers: Mapping[str, int]
    status: str = "done"

    def __str__(self) -> str:
        return f"{self.url} answered {len(self.answers)} questions as it should."


def run(config: Config) -> Asked:
    if reason := no_server(config):
        raise NoServer(reason)
    live = releases.live(config)
    api = Api(config)
    answers, kept = {}, []
    for question in questions(config, api):
        answer = api.ask(question)
        if fault := _fault(question, answer, api.document, live.id if live else None):
            raise ApiError(f"{api.url}: {question} answered {answer.status_code}. {fault}")
        answers[str(question)] = answer.status_code
        kept.append(f"{question}\n{answer.status_code} {answer.reason}\n{_readable(answer)}\n")
    if not config.dry_run:
        files.write_text(config.api_returns, "\n".join(kept))
    return Asked(api.url, answers)


class Api:
    """The running API: its document, and a way to ask it."""

    def __init__(self, config: Config) -> None:
        from attrition import keys

        self.url = _url()
        self._keys = keys.listed(os.environ.get(config.settings.api.keys_env, ""))
        self._session = _session()
        question = Question("GET", "/openapi.json", "/openapi.json")
        answer = self.ask(question)
        self.document = _said(answer)
        if answer.status_code != 200 or "paths" not in self.document:
            raise ApiError(f"{self.url}: {question} answered {answer.status_code}. {_why(answer)}")

    def ask(self, question: Question) -> "requests.Response":
        import requests

        from attrition import keys

        headers = {}
        if key := self._key(keys.PREDICT if question.method == "POST" else keys.READ):
            headers["Authorization"] = b"Bearer " + os.fsencode(key)
        if question.csv:
            headers["Content-Type"] = b"text/csv"
        body = question.csv.encode() if question.csv else None
        try:
            return self._session.request(
                question.method,
                self.url + question.path,
                json=question.json,
                data=body,
                headers=headers,
                timeout=SECONDS,
            )
        except requests.RequestException as error:
            raise ApiError(
                f"{self.url}: {question} got no answer ({type(error).__name__}). Look into the server's log."
            ) from None

    def _key(self, role: str) -> str | None:
        from attrition import keys

        return next((key for may, key in self._keys if may in (role, keys.EVERYTHING)), None)


def no_server(config: Config) -> str | None:
    """Why there is nobody to ask, as a sentence; None where the API answers."""
    url = _url()
    if not url.startswith(("http://", "https://")):
        return f"{url}: this is no URL. Set ATTRITION_API_URL to one like {HERE}."
    silent = f"{url}: no server answers. Start one with make serve, or set ATTRITION_API_URL."
    if _is_refused(url):
        return silent
    import requests

    try:
        with _session() as session:
            found = session.get(f"{url}/healthz", timeout=SECONDS).json()
    except (requests.ConnectionError, requests.Timeout):
        return silent
    except (requests.RequestException, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("service") != "attrition":
        return f"{url}: another program answers there. Set ATTRITION_API_URL to the API."
    if found.get("practice") is not config.practice:
        wanted = "practice" if config.practice else "production"
        return f"{url}: this server does not serve {wanted}. ATTRITION_PRACTICE=1 make serve serves practice."
    return None


def _is_refused(url: str) -> bool:
    """Whether nobody listens there: most ticks are without a server, and need no library to be told so."""
    try:
        parts = urlsplit(url)
        place = parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]
        socket.create_connection(place, timeout=SECONDS).close()
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        # whatever else it is, is told by the question itself
        return False
    return False


def questions(config: Config, api: Api) -> Iterator[Question]:
    """Every endpoint of the document; POST with a dataset of the test folder, its rows, and them as CSV."""
    for template, methods in api.document["paths"].items():
        if "post" in methods:
            yield from predictions(config, template)
        if "get" in methods and (path := _path(template, methods["get"], api)):
            # "not ready" is an answer too: during the very first run no run has finished yet
            right = (200, 503) if template == "/readyz" else (200,)
            yield Question("GET", template, path, right=right)


def _path(template: str, operation: Mapping[str, Any], api: Api) -> str | None:
    """The path with its parts filled in and a list cut short; None where there is nobody to ask about."""
    if "{" in template:
        listed = _said(api.ask(Question("GET", "/risk", "/risk?limit=1"))).get("clients")
        if not listed:
            return None
        # the first column of the list names the client
        client = quote(str(next(iter(listed[0].values()))), safe="")
        return template.partition("{")[0] + client + template.partition("}")[2]
    limited = any(parameter["name"] == "limit" for parameter in operation["parameters"])
    return f"{template}?limit=5" if limited else template


def predictions(config: Config, path: str) -> Iterator[Question]:
    """The smallest dataset of the test folder: its name, a row of it, and the same row as CSV."""
    from attrition import paths

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
    yield Question("POST", path, path, {"filepath": f"{folder}/{found.name}"}, right=(status,))
    columns = contract.needed(to_predict=True)
    rows = ([row[column] for column in columns] for row in judged.rows)
    if row := next((row for row in rows if all(value == value for value in row)), None):
        yield Question(
            "POST", path, f"{path}?explain=3", {"instances": [dict(zip(columns, row, strict=True))]}
        )
        yield Question("POST", path, path, csv=tables.csv_text(columns, [row]))


def _fault(
    question: Question, answer: "requests.Response", document: Mapping[str, Any], live: str | None
) -> str | None:
    """What is wrong with an answer and what to do, or None."""
    if answer.status_code not in question.right:
        return _why(answer)
    told = document["paths"][question.template][question.method.lower()]["responses"]
    content = told.get(str(answer.status_code), {}).get("content", {})
    media = answer.headers["Content-Type"].partition(";")[0]
    if media not in content:
        return f"/openapi.json names no answer {answer.status_code} of type {media}. Update the server."
    if media.endswith("json"):
        unfit = fitting.misfits(answer.json(), content[media]["schema"], document)
        if first := next(unfit, None):
            return f"This does not fit /openapi.json: {first}. Update the server."
    if question.is_about_live and (served := _said(answer).get("release", live)) != live:
        return (
            f"It serves release {served}, but here {live} is live. Look at /readyz, "
            "or set ATTRITION_API_URL to this project's API."
        )
    return None


def _why(answer: "requests.Response") -> str:
    if answer.status_code in (401, 403):
        return (
            "Set the environment variable that api.keys_env names to a key of this server, of fitting role."
        )
    return str(_said(answer).get("detail") or "Look into the server's log.")


def _said(answer: "requests.Response") -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {}


def _readable(answer: "requests.Response") -> str:
    """JSON with a key, or an entry of a list, on each line; of a page only its size."""
    media = answer.headers["Content-Type"].partition(";")[0]
    if media in ("text/html", "application/pdf") or len(answer.content) > LONGEST_KEPT:
        return f"({len(answer.content)} bytes of {media})"
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


def _session() -> "requests.Session":
    import requests

    session = requests.Session()
    # no proxy stands between two programs of one machine, and no netrc replaces the key
    session.trust_env = False
    return session


def _url() -> str:
    return os.environ.get("ATTRITION_API_URL", HERE).rstrip("/")


def main() -> int:
    return stage.enter("apicalls", __doc__, run)


if __name__ == "__main__":
    raise SystemExit(main())
