"""The risk list as a person works through it: searched, narrowed, sorted, fifty clients at a time. No disk.

found = worklist.Worklist.of(rows, clients.id, owner_column)
view = worklist.view(found, worklist.asked(request.args))
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from urllib.parse import urlencode

from attrition import changes, plays, tables
from attrition.problems import Refused

PAGE = 50
# what is searched: beside these the client and its owner
SEARCHED = ("reason_1", "reason_2", "reason_3", "suggested_action")
NUMBERS = (
    *("rank", "probability", "previous_probability", "change_points"),
    *("expected_loss", "threshold"),
)
TEXTS = ("status", "risk_band", "act_by")
# by what the list is sorted, as a query names it: the column, and whether a first click sorts it downwards
SORTS = {
    "rank": ("rank", False),
    "client": ("client", False),
    "risk": ("probability", True),
    "change": ("change_points", True),
    "status": ("status", False),
    "owner": ("owner", False),
    "loss": ("expected_loss", True),
    "act_by": ("act_by", False),
}
# an owner's name is never blank, so a blank can ask for the clients who have none
NOBODY = " "
MOST_DIGITS = 9


@dataclass(frozen=True)
class Query:
    """What is asked for; "" is everything. `sort` is a key of SORTS, downwards after a minus."""

    q: str = ""
    owner: str = ""
    band: str = ""
    status: str = ""
    sort: str = "rank"
    page: int = 1

    def link(self, **changed: str | int) -> str:
        """The same with something changed, as the query of a URL; on its first page where none is named."""
        asked = replace(self, **{"page": 1, **changed})  # type: ignore[arg-type]
        said = {
            each.name: value for each in fields(asked) if (value := getattr(asked, each.name)) != each.default
        }
        return f"?{urlencode(said)}"

    def turned(self, sort: str) -> str:
        """The link of a heading: sorted by it, the other way round where it is already."""
        up, down = sort, f"-{sort}"
        first, second = (down, up) if SORTS[sort][1] else (up, down)
        return self.link(sort=second if self.sort == first else first)

    def direction(self, sort: str) -> str:
        """How the list is sorted by that column, as aria-sort says it; "" where it is not."""
        if self.sort.removeprefix("-") != sort:
            return ""
        return "descending" if self.sort.startswith("-") else "ascending"

    @property
    def narrows(self) -> bool:
        return bool(self.q or self.owner or self.band or self.status)


@dataclass(frozen=True)
class Worklist:
    """Every client of the list by its place, what it is searched by, and its columns ready to be sorted.

    Columns have shape (clients,), with None for what is blank.
    """

    rows: Sequence[Mapping[str, str]]
    names: Sequence[str]
    owners: Sequence[str]
    texts: Sequence[str]
    columns: Mapping[str, Sequence[float | str | None]]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, str]], id_column: str, owner_column: str | None) -> "Worklist":
        """From the rows of risklist.csv; ValueError or KeyError where they are not as it is written now."""
        names = [tables.unguarded(row[id_column]) for row in rows]
        owners = [tables.unguarded(row[owner_column]) if owner_column else "" for row in rows]
        texts = [
            folded("\n".join([name, owner, *(row[column] for column in SEARCHED)]))
            for name, owner, row in zip(names, owners, rows, strict=True)
        ]
        columns: dict[str, Sequence[float | str | None]] = {
            column: [float(cell) if (cell := row[column]) else None for row in rows] for column in NUMBERS
        }
        columns |= {column: [row[column] or None for row in rows] for column in TEXTS}
        columns["client"] = [folded(name) for name in names]
        columns["owner"] = [folded(owner) or None for owner in owners]
        return cls(rows, names, owners, texts, columns)

    @cached_property
    def place_of(self) -> Mapping[str, int]:
        """By id; of two that a spreadsheet's guard makes alike the more urgent."""
        return {name: place for place, name in reversed(list(enumerate(self.names)))}

    @cached_property
    def owners_known(self) -> Sequence[str]:
        return sorted({owner for owner in self.owners if owner}, key=folded)

    @cached_property
    def with_status(self) -> Mapping[str, Sequence[int]]:
        """The places of the clients of each status."""
        places: dict[str, list[int]] = {status: [] for status in changes.STATUSES}
        for place, status in enumerate(self.columns["status"]):
            places.setdefault(f"{status}", []).append(place)
        return places


@dataclass(frozen=True)
class View:
    """One page of what was found: places of clients, counted from `first`."""

    query: Query
    places: Sequence[int]
    found: int
    first: int
    pages: int


def asked(query: Mapping[str, str]) -> Query:
    """The query of a request, or Refused with what is wrong with it."""
    known = [each.name for each in fields(Query)]
    for key in query:
        if key not in known:
            raise Refused(400, f"This list can be asked for by {', '.join(known)}.")
    said = {key: value for key, value in query.items() if value}
    allowed = {"band": plays.BANDS, "status": changes.STATUSES}
    for key, values in allowed.items():
        if key in said and said[key] not in values:
            raise Refused(400, f"{key} must be one of {', '.join(values)}.")
    if said.get("sort", "rank").removeprefix("-") not in SORTS:
        raise Refused(400, f"sort must be one of {', '.join(SORTS)}, with a minus before it for downwards.")
    page = said.pop("page", "1")
    if not (page.isascii() and page.isdigit() and len(page) <= MOST_DIGITS and int(page)):
        raise Refused(400, "page must be a whole number from 1 on.")
    return Query(page=int(page), **said)


def view(worklist: Worklist, query: Query) -> View:
    """The page asked for, or the last one where the list has become shorter."""
    found = _sorted(worklist, _found(worklist, query), query.sort)
    pages = max(1, -(-len(found) // PAGE))
    page = min(query.page, pages)
    first = (page - 1) * PAGE
    return View(replace(query, page=page), found[first : first + PAGE], len(found), first, pages)


def folded(text: str) -> str:
    """Text as it is compared: without case, and however its letters were composed."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold()


def _found(worklist: Worklist, query: Query) -> list[int]:
    owners, texts = worklist.owners, worklist.texts
    words, owner = folded(query.q).split(), "" if query.owner == NOBODY else query.owner
    found: Sequence[int] = range(len(worklist.rows))
    if query.owner:
        found = [place for place in found if owners[place] == owner]
    for column, value in (("risk_band", query.band), ("status", query.status)):
        if value:
            cells = worklist.columns[column]
            found = [place for place in found if cells[place] == value]
    for word in words:
        found = [place for place in found if word in texts[place]]
    return list(found)


def _sorted(worklist: Worklist, found: Sequence[int], sort: str) -> list[int]:
    """Blanks come last either way, equals in the order of the list."""
    column = worklist.columns[SORTS[sort.removeprefix("-")][0]]
    known = [place for place in found if column[place] is not None]
    blank = [place for place in found if column[place] is None]
    return sorted(known, key=column.__getitem__, reverse=sort.startswith("-")) + blank  # type: ignore[arg-type]
