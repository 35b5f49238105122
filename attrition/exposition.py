"""/metrics: what the server counted, in the text format of Prometheus, summed over its workers."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from attrition.tallies import Tallies

PLAIN = "text/plain"
MEDIA = f"{PLAIN}; version=0.0.4; charset=utf-8"
# name, help, labels, value
Gauge = tuple[str, str, Mapping[str, str], float]
STATUSES = (200, 304, 400, 401, 403, 404, 405, 408, 413, 415, 421, 422, 429, 500, 503)
OTHER = "other"
# seconds; a request is answered within milliseconds, ten thousand rows within a second
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Requests by route and status, their durations, and predictions by band."""

    def __init__(self, routes: Sequence[str], bands: Sequence[str]) -> None:
        self.routes, self.bands = (*routes, OTHER), tuple(bands)
        self._place = {route: at for at, route in enumerate(self.routes)}
        self._status = {status: at for at, status in enumerate(STATUSES)}
        # of each route: a count by status, one more for others; then its buckets, one more beyond; the sum
        self._buckets = len(STATUSES) + 1
        self._sum = self._buckets + len(BUCKETS) + 1
        self._width = self._sum + 1
        self._band = {band: len(self.routes) * self._width + at for at, band in enumerate(self.bands)}
        self._tallies = Tallies(len(self.routes) * self._width + len(self.bands))

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request of a route (its template, or any other word for none)."""
        base = self._place.get(route, len(self.routes) - 1) * self._width
        self._tallies.add(
            (base + self._status.get(status, len(STATUSES)), 1.0),
            (base + self._buckets + bisect_left(BUCKETS, seconds), 1.0),
            (base + self._sum, seconds),
        )

    def predicted(self, bands: Iterable[str]) -> None:
        self._tallies.add(*((self._band[band], float(n)) for band, n in Counter(bands).items()))

    def text(self, gauges: Iterable[Gauge] = ()) -> str:
        """Everything that was counted, and gauges."""
        totals = self._tallies.totals()
        lines = [*self._requests(totals), *self._durations(totals), *self._predictions(totals)]
        for name, told, labels, value in gauges:
            lines += _head(name, "gauge", told)
            lines.append(_line(name, labels, value))
        return "\n".join(lines) + "\n"

    def _requests(self, totals: Sequence[float]) -> Iterator[str]:
        name = "attrition_requests_total"
        yield from _head(name, "counter", "Requests answered, by route and status.")
        for place, route in enumerate(self.routes):
            for at, status in enumerate((*STATUSES, OTHER)):
                if count := totals[place * self._width + at]:
                    yield _line(name, {"route": route, "status": str(status)}, count)

    def _durations(self, totals: Sequence[float]) -> Iterator[str]:
        name = "attrition_request_seconds"
        yield from _head(name, "histogram", "Seconds from a request's header to its answer, by route.")
        for place, route in enumerate(self.routes):
            base = place * self._width + self._buckets
            counts = list(accumulate(totals[base : base + len(BUCKETS) + 1]))
            if not counts[-1]:
                continue
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                yield _line(f"{name}_bucket", {"route": route, "le": bound}, count)
            yield _line(f"{name}_sum", {"route": route}, totals[place * self._width + self._sum])
            yield _line(f"{name}_count", {"route": route}, counts[-1])

    def _predictions(self, totals: Sequence[float]) -> Iterator[str]:
        name = "attrition_predictions_total"
        yield from _head(name, "counter", "Rows predicted, by risk band.")
        for band in self.bands:
            yield _line(name, {"band": band}, totals[self._band[band]])


def _head(name: str, kind: str, told: str) -> tuple[str, str]:
    return f"# HELP {name} {told}", f"# TYPE {name} {kind}"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    figure = str(int(value)) if value.is_integer() else repr(value)
    return f"{name}{{{shown}}} {figure}" if shown else f"{name} {figure}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
