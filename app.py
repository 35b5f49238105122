"""The HTTP face of the live release: predictions, scores, diagnostics, the risk list, the report.

Every GET only reads what the stages wrote. Nothing here unpickles, trains or imports a stage; the live
release is followed by one readlink a request: a new one is served by the next request, without restart.

Example: make serve
         curl localhost:8000/risk?limit=5
"""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, Response, request

from attrition import __version__, answers, bodies, contract, following, keys, ledger, pages, problems, tables
from attrition.answers import RiskList
from attrition.config import Config
from attrition.following import KeptFile, Live, Served
from attrition.problems import Refused

MOST_REASONS = 10
MOST_LISTED = 1_000_000
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
# a page that shows itself and nothing else
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    f"script-src {pages.script_source()}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}


class Face:
    """Everything one server process knows, and a view for each endpoint."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.contract = contract.compiled(config.clients)
        self.live = Live(config)
        self.diagnosed = KeptFile(config.diagnostics, following.json_object)
        self.risk_list = KeptFile(config.risk_list, answers.read_list)
        self.risk_facts = KeptFile(config.risk_facts, following.json_object)
        self.report_page = KeptFile(config.report, Path.read_bytes)
        self.history = KeptFile(config.history, ledger.entries)
        self.keys = keys.digests(os.environ.get(config.settings.api.keys_env, ""))

    def prediction(self) -> Response:
        served = self._served()
        reasons = _whole_number("explain", 1, MOST_REASONS) or 0
        asked = bodies.read(self.config, self.contract, request)
        header = {**served.named, "scored_at": following.now()}
        entries = answers.predictions(self.contract, served.card, asked.rows, asked.ids, reasons)
        if _wants_csv():
            return _csv(answers.as_csv(self.config.clients.id, header, entries, reasons))
        return _json({**header, "predictions": entries})

    def scoring(self) -> Response:
        served = self._served()
        newest = answers.newest_score(self.history.look() or [], served.id)
        return _json({**served.named, "f1": served.f1, **served.scores, "newest": newest})

    def summarystats(self) -> Response:
        found = self._diagnosed()
        return _json({key: found.get(key) for key in ("release", "diagnosed_at", "rows", "summary")})

    def diagnostics(self) -> Response:
        sight = self.live.look()
        named = {**sight.served.named, "scored_at": sight.served.scored_at} if sight.served else {}
        return _json({**self._diagnosed(), "serving": {**named, "fault": sight.fault}})

    def risk(self) -> Response:
        listed, rows = self._chosen()
        about = answers.about(listed, self.risk_facts.look())
        return _json({**listed.named, **about, "clients": answers.typed(self.config.clients, rows)})

    def risk_csv(self) -> Response:
        listed, rows = self._chosen()
        # its cells were guarded against formula injection when the list was written
        return _csv(tables.csv_text(listed.header, (list(row.values()) for row in rows)))

    def report(self) -> Response:
        page = self.report_page.look()
        if page is None:
            raise Refused(503, "There is no report yet. Run: python reporting.py")
        return Response(page, headers=PAGE_HEADERS, content_type="text/html; charset=utf-8")

    def index(self) -> Response:
        served = self.live.look().served
        endpoints = {f"{route.method} {route.path}": route.sentence for route in ROUTES}
        about = {"service": "attrition", "version": __version__, "release": served.id if served else None}
        return _json({**about, "endpoints": endpoints})

    def healthz(self) -> Response:
        return _json({"service": "attrition", "status": "alive", "practice": self.config.practice})

    def readyz(self) -> Response:
        sight = self.live.look()
        run = following.last_good_run(self.config, self.history.look() or [])
        late = following.why_late(run, self.config.settings.api.max_age_minutes)
        facts: dict[str, Any] = {
            "release": sight.served.id if sight.served else None,
            "last_good_run": run and following.utc(run),
        }
        if reasons := [reason for reason in (sight.fault, late) if reason]:
            raise Refused(503, " ".join(reasons), reasons=reasons, **facts)
        return _json({"status": "ready", **facts})

    def ask_for_key(self) -> None:
        if self.keys and request.endpoint not in OPEN:
            keys.check(self.keys, request.headers.get("Authorization", ""))

    def _served(self) -> Served:
        sight = self.live.look()
        if sight.served is None:
            raise Refused(503, sight.fault or following.NO_RELEASE)
        return sight.served

    def _chosen(self) -> tuple[RiskList, Sequence[Mapping[str, str]]]:
        """The risk list, and the rows of it that the query asks for."""
        listed = self.risk_list.look()
        if listed is None:
            raise Refused(503, "There is no risk list yet. Run: python reporting.py")
        asked = {key: value for key, value in request.args.items() if key != "limit"}
        rows = answers.chosen(self.config.clients, listed, asked)
        return listed, rows[: _whole_number("limit", 1, MOST_LISTED)]

    def _diagnosed(self) -> Mapping[str, Any]:
        found = self.diagnosed.look()
        if found is None:
            raise Refused(503, "This is not diagnosed yet. Run: python diagnostics.py")
        return found


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    view: Callable[[Face], Response]
    sentence: str


ROUTES = (
    Route("GET", "/", Face.index, "this list"),
    Route(
        "POST",
        "/prediction",
        Face.prediction,
        'predictions for {"filepath": dataset}, {"instances": rows} or a CSV body; ?explain=3 adds reasons',
    ),
    Route(
        "GET", "/scoring", Face.scoring, "scores of the live release: as deployed, and on the newest labels"
    ),
    Route("GET", "/summarystats", Face.summarystats, "mean, median, mode, ... of each numeric column"),
    Route("GET", "/diagnostics", Face.diagnostics, "timings, missing percent, drift, packages, faults"),
    Route("GET", "/risk", Face.risk, "the risk list: ?limit, ?owner, ?band, ?status"),
    Route("GET", "/risk.csv", Face.risk_csv, "the same as CSV"),
    Route("GET", "/report", Face.report, "the report of the last run, HTML"),
    Route("GET", "/healthz", Face.healthz, "the process is alive"),
    Route(
        "GET", "/readyz", Face.readyz, "the live release is sound and the last good run is fresh, or why not"
    ),
)
# answered without a key: for whoever watches over the server
OPEN = ("healthz", "readyz")


def create_app(config: Config) -> Flask:
    app = Flask(__name__, static_folder=None)
    # no redirect: a path is right or it is not
    app.url_map.merge_slashes = False
    problems.register(app)
    face = Face(config)
    for route in ROUTES:
        name = route.view.__name__
        app.add_url_rule(route.path, name, getattr(face, name), methods=[route.method])
    app.before_request(face.ask_for_key)
    app.after_request(_finished)
    return app


def _finished(response: Response) -> Response:
    response.headers.extend(HEADERS)
    if response.status_code >= 400 and response.status_code != 408:
        bodies.drain(request)
    return response


def _json(facts: Mapping[str, Any]) -> Response:
    return Response(_ENCODER.encode(facts) + "\n", content_type="application/json")


# strict: a NaN would be no JSON
_ENCODER = json.JSONEncoder(allow_nan=False)


def _csv(text: str) -> Response:
    # half a surrogate pair, which JSON allows in a name, is no UTF-8
    return Response(text.encode("utf-8", "backslashreplace"), content_type="text/csv; charset=utf-8")


def _wants_csv() -> bool:
    if "csv" not in request.headers.get("Accept", ""):
        return False
    return request.accept_mimetypes.best_match(["application/json", "text/csv"]) == "text/csv"


def _whole_number(key: str, lowest: int, highest: int) -> int | None:
    """A number of the query, or None where it is not asked for."""
    text = request.args.get(key)
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
        raise Refused(400, f"{key} must be a whole number from {lowest} to {highest}.")
    return int(text)
