"""The web page: today's list, what changed, trends; a page for each client. Drawn here, without script.

A page shows what the stages wrote and nothing else, and says where that is old, damaged or of two releases.
"""

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from flask import Request, Response
from werkzeug.routing import BaseConverter

from attrition import (
    answers,
    changes,
    charts,
    clientfile,
    following,
    listfiles,
    pages,
    scorecard,
    sections,
    trends,
    worklist,
)
from attrition.answers import RiskList
from attrition.clientfile import Explained
from attrition.config import Config
from attrition.following import KeptFile, Live, Sight
from attrition.keptlists import Stand
from attrition.problems import Refused
from attrition.scorecard import Reason
from attrition.sections import Finding
from attrition.trends import Course
from attrition.worklist import Worklist

log = logging.getLogger("attrition.app")

T = TypeVar("T")
MOST_CHANGED = 10
# from so many days on a trend is told day by day, before that run by run
DAYS_OF_A_TREND = 3
# owners beyond these are searched for by name
MOST_OWNERS = 500
SORT_WORDS = {
    "rank": "Rank",
    "-risk": "Risk, highest first",
    "client": "Client, A to Z",
    "-change": "Risen most",
    "change": "Fallen most",
    "owner": "Owner",
    "act_by": "Due first",
    "-loss": "Greatest expected loss",
}
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src {pages.style_source()}; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Frame-Options": "DENY",
}


class Whole(BaseConverter):
    """The rest of a path, whatever is in it: an id may hold slashes and line breaks, or begin with them."""

    regex = r"[\s\S]*"
    part_isolating = False


class Derived(Generic[T]):
    """What is worked out from kept files, anew only where one of them has changed."""

    def __init__(self, work_out: Callable[..., T]) -> None:
        self._work_out = work_out
        self._last: tuple[tuple[Any, ...], T] | None = None

    def of(self, *sources: Any) -> T:
        last = self._last
        if last is None or any(a is not b for a, b in zip(last[0], sources, strict=True)):
            self._last = last = sources, self._work_out(*sources)
        return last[1]


@dataclass(frozen=True)
class Visitor:
    """Who looks at a page: whether it may see the others, whether it can log out; and the paths there are."""

    sees: bool
    logged_in: bool
    paths: Collection[str]


class Site:
    """The kept files that pages are made of, followed, and a page of each kind."""

    def __init__(
        self,
        config: Config,
        live: Live,
        risk_list: KeptFile[RiskList],
        risk_facts: KeptFile[dict[str, Any]],
        history: KeptFile[list[dict[str, Any]]],
    ) -> None:
        self._config, self._live = config, live
        self._risk_list, self._risk_facts, self._history = risk_list, risk_facts, history
        self._report = KeptFile(config.report_facts, _report)
        self._worklist = Derived(self._made_ready)
        self._trends = Derived(_trends)
        self._cards = clientfile.Cards(config)
        self._lists = clientfile.Lists(config.reports)

    def today(self, args: Mapping[str, str], visitor: Visitor) -> Response:
        """How things stand, the list as asked for, what changed, trends; Refused where it cannot be."""
        query = worklist.asked(args)
        listed, report, sight = self._risk_list.look(), self._report.look(), self._live.look()
        facts: dict[str, Any] = {
            "report": report,
            "status": self._status(report, listed, sight),
            "list": None,
            "trends": self._trends.of(report, self._history.look()),
        }
        if listed is not None:
            ready = self._worklist.of(listed)
            facts |= self._list_facts(listed, ready, query) | self._changed_facts(listed, ready)
        return self._page("site_today.html", facts, visitor)

    def client(self, client: str, visitor: Visitor) -> Response:
        """One client's page; Refused where it is not on the list."""
        listed, ready, place = self._found(client)
        told = self._told(listed, place, client)
        before, after = (self._link_to(ready, place + step) for step in (-1, 1))
        facts = {
            **told,
            "id": client,
            "of": sum(rank is not None for rank in ready.columns["rank"]),
            "row": self._shown(ready, place),
            "why": _why(told["explained"], told["words"]),
            "passed": self._passed(listed, place),
            "course": charts.history(told["stands"]),
            "neighbours": {"before": before, "after": after},
        }
        return self._page("site_client.html", facts, visitor)

    def client_facts(self, client: str) -> dict[str, Any]:
        """The same for programs: the row as GET /risk gives it, every reason, the history."""
        listed, _, place = self._found(client)
        told = self._told(listed, place, client)
        explained: Explained = told["explained"]
        row = listed.rows[place]
        return {
            "release": row["release"],
            "threshold": float(row["threshold"]),
            "threshold_from": explained.threshold_from,
            "scored_at": row["scored_at"],
            "note": told["note"] or None,
            "client": answers.typed(self._config.clients, [row])[0],
            "base": explained.base,
            "log_odds": explained.log_odds,
            "reasons": [
                {part: answers.known(getattr(reason, part)) for part in answers.REASON}
                for reason in explained.reasons
            ],
            "history": told["history"],
        }

    def login(self, wanted: str, fault: str, visitor: Visitor, is_private: bool) -> Response:
        """The form that asks for a key, and goes on to the place wanted."""
        facts = {"wanted": wanted, "fault": fault, "is_private": is_private}
        return self._page("site_login.html", facts, visitor, 403 if fault else 200)

    def refusal(self, status: int, title: str, detail: str, visitor: Visitor) -> Response:
        """A problem as a page."""
        facts = {"status_code": status, "title": title, "detail": detail}
        return self._page("site_refused.html", facts, visitor, status)

    def _page(self, template: str, facts: Mapping[str, Any], visitor: Visitor, status: int = 200) -> Response:
        about = {"practice": self._config.practice, "visitor": visitor}
        return Response(
            pages.page(template, {**about, **facts}), status, HEADERS, content_type="text/html; charset=utf-8"
        )

    def _made_ready(self, listed: RiskList) -> Worklist:
        clients = self._config.clients
        owner = listfiles.placed(clients, clients.owner) if clients.owner else None
        try:
            if missing := {*SHOWN} - {*listed.header}:
                raise KeyError(", ".join(sorted(missing)))
            return Worklist.of(listed.rows, clients.id, owner)
        except (KeyError, ValueError) as fault:
            log.error("risklist.csv is not as it is written now: %r", fault)
            command = self._config.command("reporting.py")
            what = "The risk list is of another version or config, or was changed."
            raise Refused(503, f"{what} Run: {command}") from None

    def _status(
        self, report: Mapping[str, Any] | None, listed: RiskList | None, sight: Sight
    ) -> dict[str, Any]:
        """What the report says of how things stand, and what has come since it was made."""
        found = [*self._since(report, listed, sight)]
        status = dict(report["status"]) if report else {}
        findings = [*map(asdict, found), *status.get("findings", ())]
        level = next((level for level in sections.LEVELS if any(f["level"] == level for f in findings)), "ok")
        default = status.get("next_command") or self._config.command("fullprocess.py")
        for age, time in (("data_age_minutes", "data_of"), ("release_age_minutes", "release_of")):
            if time in status:
                status[age] = _minutes_since(status[time])
        return status | {
            "level": level,
            "verdict": sections.VERDICTS[level],
            "findings": sorted(findings, key=lambda each: sections.LEVELS.index(each["level"])),
            "next_command": next((each.command for each in found if each.command), default),
        }

    def _since(
        self, report: Mapping[str, Any] | None, listed: RiskList | None, sight: Sight
    ) -> Iterator[Finding]:
        remake = self._config.command("reporting.py")
        run = following.last_good_run(self._config, self._history.look() or [])
        if sight.fault:
            yield Finding("act", sight.fault)
        if late := following.why_late(run, self._config.settings.api.max_age_minutes):
            yield Finding("act", late)
        if report is None or listed is None:
            yield Finding("act", "There is no report, or no list, that can be read.", remake)
            return
        if other := self._other_release(listed, sight):
            yield Finding("look", other, remake)
        if listed.rows and listed.named["scored_at"] != report["at"]:
            yield Finding("look", "The list and the report beside it are of two runs.", remake)

    def _other_release(self, listed: RiskList, sight: Sight) -> str:
        """What is to be said where the live release is not the one that made the list; else ""."""
        made_by = listed.named["release"]
        if sight.served is None or made_by in (None, sight.served.id):
            return ""
        return f"The list was made by release {made_by}; the live one is {sight.served.id}."

    def _list_facts(self, listed: RiskList, ready: Worklist, query: worklist.Query) -> dict[str, Any]:
        clients, view = self._config.clients, worklist.view(ready, query)
        value = clients.word(clients.value) if clients.value else None
        owner = clients.word(clients.owner) if clients.owner else None
        words = {sort: word for sort, word in SORT_WORDS.items() if _applies(sort, owner, value)}
        return {
            "list": listed.named,
            "total": len(ready.rows),
            "view": view,
            "query": view.query,
            "lines": [self._shown(ready, place) for place in view.places],
            "owners": ready.owners_known if len(ready.owners_known) <= MOST_OWNERS else None,
            "nobody": worklist.NOBODY if "" in ready.owners else None,
            "owner_word": owner,
            "value_word": value,
            "statuses": [status for status in changes.STATUSES if ready.with_status[status]],
            "sorts": words,
        }

    def _changed_facts(self, listed: RiskList, ready: Worklist) -> dict[str, Any]:
        about = answers.about(listed, self._risk_facts.look())
        groups = {}
        for status in (*changes.TOLD, changes.NOT_SCORED):
            places = ready.with_status[status]
            shown = [self._shown(ready, place) for place in places[:MOST_CHANGED]]
            groups[status] = {"clients": len(places), "shown": shown}
        return {
            "since": about["since"],
            "changed": groups,
            "delta_points": self._config.settings.risk.delta_points,
        }

    def _shown(self, ready: Worklist, place: int) -> dict[str, Any]:
        """A client as a line of a page."""
        row = answers.typed(self._config.clients, [ready.rows[place]])[0]
        reasons = (row[f"reason_{number}"] for number in (1, 2, 3))
        clients = self._config.clients
        return {
            "client": ready.names[place],
            "link": link(ready.names[place]),
            "owner": ready.owners[place],
            # a list that was made before the config was changed may lack the column
            "value": row.get(listfiles.placed(clients, clients.value)) if clients.value else None,
            "reasons": [sections.brief(reason) for reason in reasons if reason],
            **{key: row[key] for key in SHOWN},
        }

    def _found(self, client: str) -> tuple[RiskList, Worklist, int]:
        listed = self._risk_list.look()
        if listed is None:
            command = self._config.command("reporting.py")
            raise Refused(503, f"There is no risk list yet. Run: {command}")
        ready = self._worklist.of(listed)
        place = ready.place_of.get(client)
        if place is not None:
            return listed, ready, place
        last = next(reversed(self._lists.history(client)), None)
        known = f" It was last on the list of {pages.time(last.at)} (run {last.run})." if last else ""
        raise Refused(404, f"No client of that id is on the list: GET /risk has those who are.{known}")

    def _told(self, listed: RiskList, place: int, client: str) -> dict[str, Any]:
        """Why the client has its risk, by the release that made the list, and how it went."""
        row, sight, clients = listed.rows[place], self._live.look(), self._config.clients
        is_live = sight.served is not None and sight.served.id == row["release"]
        card = sight.served.card if sight.served and is_live else self._cards.of(row["release"])
        columns = card.features if card else ()
        cells = {c: row[placed] for c in columns if (placed := listfiles.placed(clients, c)) in row}
        probability = float(row["probability"]) if row["probability"] else None
        explained = clientfile.explained(card, cells, probability)
        stands = self._lists.history(client)
        band = card.band if card else _band(self._config)
        return {
            "explained": explained,
            "words": {each.column: each.words for each in card.columns} if card else {},
            "note": " ".join(filter(None, [self._other_release(listed, sight), explained.note])),
            "stands": stands,
            "history": [_stand(each, band) for each in stands],
        }

    def _passed(self, listed: RiskList, place: int) -> list[tuple[str, Any]]:
        """The client's row as it was ingested: words and values of its columns."""
        clients = self._config.clients
        row = answers.typed(clients, [listed.rows[place]])[0]
        columns = [column for column in (*clients.columns, *clients.derived) if column != clients.id]
        placed = [(column, listfiles.placed(clients, column)) for column in (*columns, "dataset")]
        cells = {column: row[name] for column, name in placed if name in row}
        unknown = {clients.target: cells.get(clients.target) or "not known yet"}
        return [(clients.word(column), cell) for column, cell in {**cells, **unknown}.items()]

    def _link_to(self, ready: Worklist, place: int) -> dict[str, str] | None:
        if not 0 <= place < len(ready.names):
            return None
        return {"client": ready.names[place], "link": link(ready.names[place])}


SHOWN = (
    *("rank", "probability", "risk_band", "status", "previous_probability", "change_points"),
    *("expected_loss", "suggested_action", "act_by", "warnings", "release", "threshold", "scored_at"),
)


def is_browser(request: Request) -> bool:
    """Whether a page is wanted rather than JSON: it must be asked for by name."""
    accepted = request.accept_mimetypes
    return "text/html" in accepted.values() and accepted["text/html"] >= accepted["application/json"]


def link(client: str) -> str:
    """The place of a client's page; an id of dots, which a browser takes for a way up, in the query."""
    if not client.strip("."):
        return f"/clients/?{urlencode({'id': client})}"
    return f"/clients/{quote(client, safe='')}"


def wanted_place(request: Request) -> str:
    """The path and query of a request as they were sent: a slash of an id and one of the path differ."""
    return str(request.environ.get("RAW_URI", "/"))


def _report(path: Any) -> dict[str, Any]:
    """report.json; ValueError where it is of another form than is written now."""
    facts = following.json_object(path)
    if (
        facts.get("format") != sections.FORMAT
        or not {*sections.SECTIONS, "run", "at", "release"} <= facts.keys()
    ):
        raise ValueError("it is of another version. Run: python reporting.py")
    return facts


def _trends(
    report: Mapping[str, Any] | None, history: Sequence[Mapping[str, Any]] | None
) -> list[dict[str, Any]]:
    """The courses of the report, which has all days; of the first few days those of the history's runs."""
    told = [Course(**course) for course in report["operations"]["courses"]] if report else []
    if max((len(course.periods) for course in told), default=0) < DAYS_OF_A_TREND:
        told = trends.run_by_run(history or ())
    return [
        {
            "course": course,
            "curve": charts.course(course),
            "first": _period(course.periods[0]),
            "last": _period(course.periods[-1], course.periods[0]),
        }
        for course in told
    ]


def _period(period: str, after: str = "") -> str:
    """A day, a month, or the time of a run; without its day where that was said just before."""
    if "T" not in period:
        return period
    return pages.time(period)[11:] if period[:10] == after[:10] and period != after else pages.time(period)


def _why(explained: Explained, words: Mapping[str, str]) -> dict[str, Any] | None:
    """The sum from the typical client to this one, each reason with its bar and its factor of the odds."""
    if explained.base is None or explained.log_odds is None:
        return None
    drawn = charts.waterfall(explained.base, [reason.effect for reason in explained.reasons])
    return {
        "drawn": drawn,
        "steps": [
            {**asdict(reason), "words": words[reason.feature], "factor": _factor(reason), "bar": bar}
            for reason, bar in zip(explained.reasons, drawn.bars, strict=True)
        ],
        "base": explained.base,
        "log_odds": explained.log_odds,
        "base_risk": scorecard.logistic(explained.base),
    }


def _factor(reason: Reason) -> float:
    return math.exp(min(reason.effect, 700.0))


def _stand(stand: Stand, band: Callable[[float], str]) -> dict[str, Any]:
    known = stand.probability is not None
    return {
        "run": stand.run,
        "at": stand.at,
        "probability": stand.probability,
        "risk_band": band(stand.probability) if known else None,  # type: ignore[arg-type]
        "rank": stand.rank,
        "release": stand.release,
    }


def _band(config: Config) -> Callable[[float], str]:
    """The band of a probability by the edges of the config, where no scorecard knows any."""
    bands = config.settings.risk.bands
    return lambda risk: "high" if risk >= bands.high else "medium" if risk >= bands.medium else "low"


def _applies(sort: str, owner: str | None, value: str | None) -> bool:
    column = sort.removeprefix("-")
    return not (column == "owner" and owner is None) and not (column == "loss" and value is None)


def _minutes_since(time: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds() / 60
