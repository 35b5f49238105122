"""The HTTP face of the live release: predictions, scores, diagnostics, lists, the report, the web page.

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
from urllib.parse import urlencode

from flask import Flask, Response, request

from attrition import (
    __version__,
    answers,
    bodies,
    contract,
    following,
    keys,
    ledger,
    pages,
    problems,
    sessions,
    site,
    tables,
)
from attrition.answers import RiskList
from attrition.config import Config
from attrition.following import KeptFile, Live, Served
from attrition.problems import Refused
from attrition.sessions import Sessions
from attrition.site import Site, Visitor

MOST_REASONS = 10
MOST_LISTED = 1_000_000
LARGEST_LOGIN = 8192
LOOKS = ("GET", "HEAD")
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
        self.sessions = Sessions(self.keys)
        self.site = Site(config, self.live, self.risk_list, self.risk_facts, self.history)

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
        if site.is_browser(request):
            return self.site.today(request.args, self._visitor())
        served = self.live.look().served
        endpoints = {f"{route.method} {route.path}": route.sentence for route in ROUTES}
        about = {"service": "attrition", "version": __version__, "release": served.id if served else None}
        return _with_vary(_json({**about, "endpoints": endpoints}))

    def client(self, id: str) -> Response:
        asked = id or request.args.get("id", "")
        if site.is_browser(request):
            return self.site.client(asked, self._visitor())
        return _with_vary(_json(self.site.client_facts(asked)))

    def login(self) -> Response:
        wanted = sessions.own_place(request.args.get("next", "/"))
        return self._login_form(wanted, "") if self.keys else _go_on(wanted)

    def enter(self) -> Response:
        _check_form()
        wanted = sessions.own_place(request.form.get("next", "/"))
        cookie = self.sessions.begin(request.form.get("key", ""))
        if cookie is None:
            return self._login_form(wanted, "There is no such key. Check it, or ask who runs this server.")
        answer = _go_on(wanted)
        answer.set_cookie(
            sessions.COOKIE,
            cookie,
            max_age=sessions.SECONDS,
            httponly=True,
            samesite="Strict",
            secure=request.is_secure,
        )
        return answer

    def logout(self) -> Response:
        _check_form()
        answer = _go_on("/login")
        answer.delete_cookie(sessions.COOKIE, httponly=True, samesite="Strict", secure=request.is_secure)
        return answer

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

    def ask_for_key(self) -> Response | None:
        """Programs send a key with each request; a browser is sent to the login, and back with a cookie."""
        if not self.keys or request.endpoint in OPEN:
            return None
        authorization = request.headers.get("Authorization", "")
        # a cookie comes by itself, so it opens only what changes nothing and costs little
        if not authorization and request.method in LOOKS:
            if self._is_logged_in():
                return None
            if site.is_browser(request):
                return _go_on(f"/login?{urlencode({'next': site.wanted_place(request)})}")
        keys.check(self.keys, authorization)
        return None

    def for_browsers(self, response: Response) -> Response:
        """A problem as a page, where a page is asked for or a form was sent."""
        is_problem = response.mimetype == "application/problem+json"
        is_page = request.method in LOOKS or request.endpoint in FORMS
        if not (is_problem and is_page and site.is_browser(request)):
            return response
        problem = response.get_json()
        page = self.site.refusal(response.status_code, problem["title"], problem["detail"], self._visitor())
        response.set_data(page.get_data())
        response.headers.update(page.headers)
        return response

    def _is_logged_in(self) -> bool:
        return self.sessions.knows(request.cookies.get(sessions.COOKIE, ""))

    def _visitor(self) -> Visitor:
        logged_in = bool(self.keys) and self._is_logged_in()
        sees = logged_in or not self.keys or "Authorization" in request.headers
        return Visitor(sees, logged_in, PATHS)

    def _login_form(self, wanted: str, fault: str) -> Response:
        is_private = request.is_secure or sessions.is_here(request.host)
        return self.site.login(wanted, fault, self._visitor(), is_private)

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
    view: Callable[..., Response]
    sentence: str


ROUTES = (
    Route("GET", "/", Face.index, "this list; for a browser the web page"),
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
    Route("GET", "/clients/<path:id>", Face.client, "one client: risk, every reason, history"),
    Route("GET", "/report", Face.report, "the report of the last run, HTML"),
    Route("GET", "/login", Face.login, "the form by which a browser sends a key"),
    Route("POST", "/login", Face.enter, "a key for a cookie that lasts 12 hours"),
    Route("POST", "/logout", Face.logout, "the end of that cookie"),
    Route("GET", "/healthz", Face.healthz, "the process is alive"),
    Route(
        "GET", "/readyz", Face.readyz, "the live release is sound and the last good run is fresh, or why not"
    ),
)
PATHS = frozenset(route.path for route in ROUTES)
# answered without a key: for whoever watches over the server, and to send one
FORMS = ("enter", "logout")
OPEN = ("healthz", "readyz", "login", *FORMS)


def create_app(config: Config) -> Flask:
    app = Flask(__name__, static_folder=None)
    # no redirect: a path is right or it is not
    app.url_map.merge_slashes = False
    app.url_map.converters["path"] = site.Whole
    problems.register(app)
    face = Face(config)
    for route in ROUTES:
        name = route.view.__name__
        app.add_url_rule(route.path, name, getattr(face, name), methods=[route.method])
    app.before_request(face.ask_for_key)
    app.after_request(_finished)
    app.after_request(face.for_browsers)
    return app


def _finished(response: Response) -> Response:
    response.headers.extend(HEADERS)
    if response.status_code >= 400 and response.status_code != 408:
        bodies.drain(request)
    return response


def _check_form() -> None:
    """Refused where a form was not sent from a page of this server, or is larger than a key makes it."""
    request.max_content_length = LARGEST_LOGIN
    if not sessions.is_own_form(dict(request.headers), request.host):
        raise Refused(
            403, "This form was not sent from a page of this server. Open /login and send it there."
        )


def _go_on(place: str) -> Response:
    return Response(status=303, headers={"Location": place})


def _with_vary(response: Response) -> Response:
    response.vary.add("Accept")
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
