"""One client: every reason of its risk, which add up to it, and where it stood on each list that is kept.

A row is explained by the release that scored it, never by another one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attrition import keptlists, releases, scorecard, tables
from attrition.config import Config
from attrition.errors import AttritionError
from attrition.keptlists import OnDisk, Stand
from attrition.scorecard import Reason, Scorecard

# risklist.csv rounds probabilities
SAME_RISK = 1e-6


@dataclass(frozen=True)
class Explained:
    """`base` + the effects of the reasons = `log_odds`.

    Both are None where there is no risk, or, with a `note`, where it cannot be explained.
    """

    base: float | None
    log_odds: float | None
    reasons: Sequence[Reason]
    threshold_from: str | None
    note: str


class Cards:
    """Scorecards of releases that are no longer live but made the list: the last one asked for is kept."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._last: tuple[str, Scorecard] | None = None

    def of(self, release: str) -> Scorecard | None:
        """The release's scorecard, verified; None where it is not kept any more, or damaged."""
        last = self._last
        if last is None or last[0] != release:
            try:
                card = scorecard.load(releases.by_id(self._config, release).read("scorecard.json"))
            except (AttritionError, OSError, ValueError, KeyError):
                return None
            self._last = last = release, card
        return last[1]


class Lists:
    """The lists that are kept, the oldest first; each is read once, and damaged ones are passed over."""

    def __init__(self, reports: Path) -> None:
        self._reports = reports
        self._seen: dict[Path, tuple[tuple[int, int, int], OnDisk | None]] = {}

    def look(self) -> list[OnDisk]:
        before, seen = self._seen, {}
        for place in self._reports.glob(f"*/{keptlists.NAME}"):
            try:
                at = place.stat()
            except OSError:
                continue
            key = (at.st_mtime_ns, at.st_size, at.st_ino)
            known = before.get(place)
            seen[place] = known if known and known[0] == key else (key, _readable(place))
        self._seen = seen
        lists = [one for _, one in seen.values() if one]
        return sorted(lists, key=lambda one: (one.number, one.run))

    def history(self, client: str) -> list[Stand]:
        """Where the client stood on each list that has it, the oldest first."""
        key, found = keptlists.key_of(client), []
        for one in self.look():
            try:
                stand = one.stand(key)
            except (OSError, ValueError):
                # it has been removed, or damaged, since it was looked at
                continue
            if stand:
                found.append(stand)
        return found


def explained(card: Scorecard | None, cells: Mapping[str, str], probability: float | None) -> Explained:
    """Why a row of the list has its risk, None where it was not scored.

    `cells` are those of the columns that the model reads, as text.
    """
    if probability is None:
        return Explained(None, None, (), card.threshold_from if card else None, "")
    if card is None:
        note = "The release that made this list is not kept any more: only its strongest reasons are known."
        return Explained(None, None, (), None, note)
    try:
        values = {column: [_value(card, column, cells[column])] for column in card.features}
    except (ValueError, KeyError):
        return _not_its_row(card)
    log_odds = float(card.log_odds(values)[0])
    if abs(scorecard.logistic(log_odds) - probability) > SAME_RISK:
        return _not_its_row(card)
    return Explained(card.base, log_odds, card.explain(values, top=None)[0], card.threshold_from, "")


def _not_its_row(card: Scorecard) -> Explained:
    note = "The client's row in risklist.csv does not give the risk beside it. Run: python reporting.py"
    return Explained(None, None, (), card.threshold_from, note)


def _value(card: Scorecard, column: str, cell: str) -> float | str:
    return float(cell or "nan") if column in card.numbers else tables.unguarded(cell)


def _readable(place: Path) -> OnDisk | None:
    try:
        return keptlists.on_disk(place)
    except keptlists.DAMAGES:
        return None
