"""The HTTP face of the live release: predictions, scores, diagnostics, lists, the report, the web page.

Every GET only reads what the stages wrote. Nothing here unpickles, trains or imports a stage; the live
release is followed by one readlink a request: a new one is served by the next request, without restart.

Example: make serve
         curl localhost:8000/risk?limit=5
"""

import gzip
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from flask import Flask, Response, request

from attrition import (
    __version__,
    answers,
    bodies,
    contract,
    exposition,
    following,
    keys,
    ledger,
    openapi,
    pages,
    plays,
    problems,
    shapes,
    site,
    tables,
    watching,
)
from attrition.answers import RiskList
from attrition.config import Config
from attrition.doorway import Door
from attrition.exposition import Metrics
from attrition.following import KeptFile, Live, Served
from attrition.openapi import CSV, HTML, JSON, PDF, Route
from attrition.problems import Refused
from attrition.quick import Rows
from attrition.site import Site
from attrition.watching import NOTED, Noted

# a page that shows itself and nothing else
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    f"script-src {pages.script_source()}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
DOCS_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src {openapi.style_source()}; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
# smaller bodies fit into one packet anyway
SMALLEST_COMPRESSED = 1400
CSV_UTF8 = "text/csv; charset=utf-8"
NO_LIST = "There is no risk list yet. Run: python reporting.py"
NO_REPORT = "There is no report yet. Run: python reporting.py"
NOT_DIAGNOSED = "This is not diagnosed yet. Run: python diagnostics.py"


class Face:
    """Everything one server process knows, and a view for each endpoint."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.contract = contract.compiled(config.clients)
        self.rows = Rows(self.contract)
        self.live = Live(config)
        self.diagnosed = KeptFile(config.diagnostics, following.json_object)
        self.risk_list = KeptFile(config.risk_list, answers.read_list)
        self.risk_facts = KeptFile(config.risk_facts, following.json_object)
        self.short_list = KeptFile(config.short_list, Path.read_bytes)
        self.reports = {
            HTML: KeptFile(config.report, Path.read_bytes),
            PDF: KeptFile(config.report_pdf, Path.read_bytes),
            JSON: KeptFile(config.report_facts, Path.read_bytes),
        }
        self.history = KeptFile(config.history, ledger.entries)
        self.site = Site(config, self.live, self.risk_list, self.risk_facts, self.history)
        self.door = Door(config, self.site, frozenset(route.path for route in ROUTES))
        self.metrics = Metrics([route.template for route in ROUTES], plays.BANDS)
        self._documents: dict[tuple[str, str], bytes] = {}

    def prediction(self, query: shapes.PredictionQuery) -> Response:
        served = self._served()
        reasons = query.explain or 0
        # the request itself: its proxy would be resolved at each of a dozen looks
        asking = request._get_current_object()  # type: ignore[attr-defined]
        asked = bodies.read(self.config, self.contract, self.rows, asking)
        header = {**served.named, "scored_at": following.now()}
        entries = answers.predictions(
            self.contract, served.card, served.usual, asked.rows, asked.ids, reasons
        )
        self.metrics.predicted(entry["risk_band"] for entry in entries)
        if _wants_csv():
            return _csv(answers.as_csv(self.config.clients.id, header, entries, reasons))
        return _json({**header, "predictions": entries})

    def scoring(self, query: shapes.Query) -> Response:
        served = self._served()
        tag, history = self.history.tagged()

        def answer() -> Response:
            newest = answers.newest_score(history or [], served.id)
            return _json({**served.named, "f1": served.f1, **served.scores, "newest": newest})

        return _unless_known(answer, served.id, tag)

    def summarystats(self, query: shapes.Query) -> Response:
        tag, found = _there(self.diagnosed, NOT_DIAGNOSED)
        wanted = ("release", "diagnosed_at", "rows", "summary")
        return _unless_known(lambda: _json({key: found.get(key) for key in wanted}), tag)

    def diagnostics(self, query: shapes.Query) -> Response:
        sight = self.live.look()
        tag, found = _there(self.diagnosed, NOT_DIAGNOSED)
        named = {**sight.served.named, "scored_at": sight.served.scored_at} if sight.served else {}
        serving = {**named, "fault": sight.fault}
        return _unless_known(lambda: _json({**found, "serving": serving}), tag, json.dumps(serving))

    def risk(self, query: shapes.RiskQuery) -> Response:
        tag, listed = _there(self.risk_list, NO_LIST)
        rows = self._chosen(listed, query)
        facts_tag, facts = self.risk_facts.tagged()

        def answer() -> Response:
            about = answers.about(listed, facts)
            return _json({**listed.named, **about, "clients": answers.typed(self.config.clients, rows)})

        return _unless_known(answer, listed.named["release"] or "", tag, facts_tag)

    def risk_csv(self, query: shapes.RiskQuery) -> Response:
        tag, listed = _there(self.risk_list, NO_LIST)
        rows = self._chosen(listed, query)

        def answer() -> Response:
            # its cells were guarded against formula injection when the list was written
            return _csv(tables.csv_text(listed.header, (list(row.values()) for row in rows)))

        return _unless_known(answer, listed.named["release"] or "", tag)

    def risklist_file(self, query: shapes.Query) -> Response:
        return self.risk_csv(shapes.RiskQuery())

    def shortlist_file(self, query: shapes.Query) -> Response:
        tag, content = _there(self.short_list, NO_LIST)
        return _unless_known(lambda: Response(content, content_type=CSV_UTF8), tag)

    def report(self, query: shapes.Query) -> Response:
        return self._report(HTML, "text/html; charset=utf-8", PAGE_HEADERS)

    def report_pdf(self, query: shapes.Query) -> Response:
        return self._report(PDF, PDF, {"Content-Disposition": 'inline; filename="report.pdf"'})

    def report_json(self, query: shapes.Query) -> Response:
        return self._report(JSON, JSON, {})

    def index(self, query: shapes.Query) -> Response:
        if site.is_browser(request):
            return self.site.today(request.args, self.door.visitor())
        served = self.live.look().served
        endpoints = {f"{route.method} {route.template}": route.sentence for route in ENDPOINTS}
        about = {"service": "attrition", "version": __version__, "release": served.id if served else None}
        return _json({**about, "endpoints": endpoints})

    def client(self, query: shapes.ClientQuery, id: str) -> Response:
        asked = id or query.id or ""
        if site.is_browser(request):
            return self.site.client(asked, self.door.visitor())
        return _json(self.site.client_facts(asked))

    def login(self, query: shapes.Query) -> Response:
        return self.door.login()

    def enter(self, query: shapes.Query) -> Response:
        return self.door.enter()

    def leave(self, query: shapes.Query) -> Response:
        return self.door.leave()

    def openapi(self, query: shapes.Query) -> Response:
        return self._document(JSON, JSON, {}, lambda told: json.dumps(told) + "\n")

    def docs(self, query: shapes.Query) -> Response:
        return self._document(HTML, "text/html; charset=utf-8", DOCS_HEADERS, openapi.page)

    def scrape(self, query: shapes.Query) -> Response:
        return Response(self.metrics.text(self._gauges()), content_type=exposition.MEDIA)

    def healthz(self, query: shapes.Query) -> Response:
        return _json({"service": "attrition", "status": "alive", "practice": self.config.practice})

    def readyz(self, query: shapes.Query) -> Response:
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

    def let_in(self) -> Response | None:
        """Before anything is answered: note what is asked for, and ask the door."""
        noted, route = _noted(), BY_NAME.get(request.endpoint or "")
        if route is not None:
            noted.route, noted.vary = route.template, route.vary
        return self.door.let_in(route, noted)

    def finished(self, response: Response) -> Response:
        """After it is answered: a problem as whoever asked reads it, and everything compressed."""
        if response.status_code >= 400:
            response = self.door.for_browsers(BY_NAME.get(request.endpoint or ""), response)
        return _finished(response)

    def _served(self) -> Served:
        sight = self.live.look()
        if sight.served is None:
            raise Refused(503, sight.fault or following.NO_RELEASE)
        _noted().release = sight.served.id
        return sight.served

    def _chosen(self, listed: RiskList, query: shapes.RiskQuery) -> Sequence[Mapping[str, str]]:
        _noted().release = listed.named["release"]
        return answers.chosen(self.config.clients, listed, query.filters)[: query.limit]

    def _report(self, form: str, content_type: str, headers: Mapping[str, str]) -> Response:
        tag, content = _there(self.reports[form], NO_REPORT)
        return _unless_known(lambda: Response(content, headers=headers, content_type=content_type), tag)

    def _document(
        self, form: str, content_type: str, headers: Mapping[str, str], write: Callable[[Any], str]
    ) -> Response:
        """Of the API, with the live release's answer as an example; made once for each release."""
        served = self.live.look().served
        release = served.id if served else ""
        name = form, release
        made = self._documents.get(name)
        if made is None:
            told = openapi.document(self.config, self.contract, ENDPOINTS, self._examples(served))
            of_this_release = {key: page for key, page in self._documents.items() if key[1] == release}
            made = write(told).encode()
            self._documents = {**of_this_release, name: made}
        return _unless_known(
            lambda: Response(made, headers=headers, content_type=content_type), form, release
        )

    def _examples(self, served: Served | None) -> dict[str, Any]:
        if served is None:
            return {}
        card = served.card
        typical = {column.column: column.typical for column in card.columns}
        row = openapi.example_row(self.contract, typical)
        verdict = self.contract.judge_instance(row)
        if not verdict.accepted:
            return {"row": row}
        entries = answers.predictions(
            self.contract, card, served.usual, [verdict.values], [row[self.contract.clients.id]], 1
        )
        return {"row": row, "answer": {**served.named, "scored_at": served.scored_at, "predictions": entries}}

    def _gauges(self) -> list[exposition.Gauge]:
        sight, run = self.live.look(), following.last_good_run(self.config, self.history.look() or [])
        served = sight.served
        release = served.id if served else ""
        found: list[exposition.Gauge] = [
            ("attrition_info", "The version of the software.", {"version": __version__}, 1.0),
            (
                "attrition_release_info",
                "The release that is served.",
                {"release": release},
                float(bool(served)),
            ),
            (
                "attrition_release_fault",
                "1: the live release cannot be served.",
                {},
                float(bool(sight.fault)),
            ),
        ]
        if served:
            told = "Seconds since the release that is served was made."
            found.append(("attrition_release_age_seconds", told, {}, following.age(served.created)))
        if run is not None:
            told = "Seconds since the last good run ended."
            found.append(("attrition_last_good_run_age_seconds", told, {}, following.seconds_since(run)))
        return found


ROUTES = (
    Route(
        "GET",
        "/",
        Face.index,
        "this list; for a browser the web page",
        {JSON: shapes.Index, HTML: None},
        keys.ANY,
        shapes.PageQuery,
    ),
    Route(
        "POST",
        "/prediction",
        Face.prediction,
        'predictions for {"filepath": dataset}, {"instances": rows} or a CSV body; ?explain=3 adds reasons',
        {JSON: shapes.Predictions, CSV: None},
        keys.PREDICT,
        shapes.PredictionQuery,
        (400, 404, 408, 413, 415, 422, 503),
        takes_rows=True,
    ),
    Route(
        "GET",
        "/scoring",
        Face.scoring,
        "scores of the live release: as deployed, and on the newest labels",
        {JSON: shapes.Scoring},
        refusals=(503,),
    ),
    Route(
        "GET",
        "/summarystats",
        Face.summarystats,
        "mean, median, mode, ... of each numeric column",
        {JSON: shapes.SummaryStats},
        refusals=(503,),
    ),
    Route(
        "GET",
        "/diagnostics",
        Face.diagnostics,
        "timings, missing percent, drift, packages, faults",
        {JSON: shapes.Diagnostics},
        refusals=(503,),
    ),
    Route(
        "GET",
        "/risk",
        Face.risk,
        "the risk list: ?limit, ?owner, ?band, ?status",
        {JSON: shapes.RiskList},
        query=shapes.RiskQuery,
        refusals=(503,),
    ),
    Route(
        "GET",
        "/risk.csv",
        Face.risk_csv,
        "the same as CSV",
        {CSV: None},
        query=shapes.RiskQuery,
        refusals=(503,),
    ),
    Route(
        "GET",
        "/clients/<path:id>",
        Face.client,
        "one client: risk, every reason, history; for a browser its page",
        {JSON: shapes.ClientFacts, HTML: None},
        query=shapes.ClientQuery,
        refusals=(404, 503),
        within={"id": "the client's id, all of it quoted"},
    ),
    Route("GET", "/report", Face.report, "the report of the last run, HTML", {HTML: None}, refusals=(503,)),
    Route("GET", "/report.pdf", Face.report_pdf, "the same as PDF", {PDF: None}, refusals=(503,)),
    Route(
        "GET", "/report.json", Face.report_json, "the same as JSON", {JSON: shapes.Report}, refusals=(503,)
    ),
    Route("GET", "/openapi.json", Face.openapi, "this API, as OpenAPI 3.1", {JSON: None}, keys.ANY),
    Route("GET", "/docs", Face.docs, "the same for people", {HTML: None}, keys.ANY),
    Route("GET", "/metrics", Face.scrape, "counts for Prometheus", {exposition.PLAIN: None}, keys.ANY),
    # the names by which the report links to both lists
    Route(
        "GET", "/risklist.csv", Face.risklist_file, "all of the list, as a file", {CSV: None}, is_page=True
    ),
    Route(
        "GET",
        "/shortlist.csv",
        Face.shortlist_file,
        "the short list by owner, as a file",
        {CSV: None},
        is_page=True,
    ),
    Route(
        "GET",
        "/login",
        Face.login,
        "the form by which a browser sends a key",
        {HTML: None},
        keys.LOGIN,
        shapes.PageQuery,
        is_page=True,
    ),
    Route(
        "POST", "/login", Face.enter, "a key for a cookie that lasts 12 hours", {}, keys.LOGIN, is_page=True
    ),
    Route("POST", "/logout", Face.leave, "the end of that cookie", {}, keys.LOGIN, is_page=True),
    Route("GET", "/healthz", Face.healthz, "the process is alive", {JSON: shapes.Health}, keys.OPEN),
    Route(
        "GET",
        "/readyz",
        Face.readyz,
        "the live release is sound and the last good run is fresh, or why not",
        {JSON: shapes.Ready},
        keys.OPEN,
        refusals=(503,),
    ),
)
# what programs may ask, which is what /openapi.json tells
ENDPOINTS = tuple(route for route in ROUTES if not route.is_page)
BY_NAME = {route.name: route for route in ROUTES}


class Plain(Flask):
    """Flask whose views and hooks are all plain functions: it need not ask each of them at each request."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(config: Config, tell: Callable[[Noted], None] | None = None) -> Flask:
    """The WSGI app. `tell` is told of each request once it is answered."""
    app = Plain(__name__, static_folder=None)
    # no redirect: a path is right or it is not
    app.url_map.merge_slashes = False
    app.url_map.converters["path"] = site.Whole
    problems.register(app)
    face = Face(config)
    for route in ROUTES:
        app.add_url_rule(route.path, route.name, _asked(face, route), methods=[route.method])
    app.before_request(face.let_in)
    app.after_request(face.finished)
    app.wsgi_app = watching.watched(app.wsgi_app, face.metrics, tell)  # type: ignore[assignment, method-assign]
    return app


def _asked(face: Face, route: Route) -> Callable[..., Response]:
    """The view of a route: asked with its query, as the model of it has it."""
    nothing = route.query()
    view = partial(route.view, face)

    @lru_cache(maxsize=128)
    def query_of(raw: bytes) -> shapes.Query:
        return route.query.asked(request.args)

    def asked(**within: str) -> Response:
        raw = request.query_string
        # whoever watches over the server may ask as they like
        is_plain = not raw or route.role == keys.OPEN
        return view(nothing if is_plain else query_of(raw), **within)

    return asked


def _finished(response: Response) -> Response:
    if response.status_code >= 400 and response.status_code != 408:
        bodies.drain(request)
    if "gzip" in request.environ.get("HTTP_ACCEPT_ENCODING", ""):
        _compress(response)
    return response


def _compress(response: Response) -> None:
    is_worth_it = (response.content_length or 0) >= SMALLEST_COMPRESSED and response.mimetype != PDF
    if is_worth_it and request.method != "HEAD" and request.accept_encodings["gzip"] > 0:
        # fast: what a higher level saves in bytes it costs several times in CPU
        response.set_data(gzip.compress(response.get_data(), 1, mtime=0))
        response.headers["Content-Encoding"] = "gzip"


def _noted() -> Noted:
    noted: Noted = request.environ[NOTED]
    return noted


def _there(kept: KeptFile[Any], missing: str) -> tuple[str, Any]:
    """A kept file's tag and content, or Refused."""
    tag, content = kept.tagged()
    if content is None:
        raise Refused(503, missing)
    return tag, content


def _unless_known(answer: Callable[[], Response], *made_of: str) -> Response:
    """The answer, or 304 where the client has it already: its tag says what it was made of."""
    digest = hashlib.blake2b("\0".join((__version__, *made_of)).encode(), digest_size=12)
    tag = digest.hexdigest()
    if request.if_none_match.contains_weak(tag):
        response = Response(status=304)
        del response.headers["Content-Type"]
    else:
        response = answer()
    response.set_etag(tag, weak=True)
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _json(facts: Mapping[str, Any]) -> Response:
    return Response(_ENCODER.encode(facts) + "\n", content_type=JSON)


# strict: a NaN would be no JSON
_ENCODER = json.JSONEncoder(allow_nan=False)


def _csv(text: str) -> Response:
    # half a surrogate pair, which JSON allows in a name, is no UTF-8
    return Response(text.encode("utf-8", "backslashreplace"), content_type=CSV_UTF8)


def _wants_csv() -> bool:
    if "csv" not in request.environ.get("HTTP_ACCEPT", ""):
        return False
    return request.accept_mimetypes.best_match([JSON, CSV]) == CSV


if __name__ == "__main__":
    sys.stderr.write("app.py is no script: gunicorn serves it. Run: make serve\n")
    raise SystemExit(2)
