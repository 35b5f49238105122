"""Which history lines must stay lines when the others have become sums: those that tell how things stand.

A state ("training fails", "drift goes on") is set by lines of some kinds and reset by lines of others.
Whichever kinds these are: the last line of each kind, and the first line of each kind after the last of each
other, give the same state as all lines do, and the same moment since when it holds.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrition.chronicle import FINISHED, IDLE

# what readers tell a state by in the facts of a tick: drift that goes on, a challenger that was refused
STATES = ("drift", "live_score", "promoted", "retrained")
# a failure of theirs leaves a tick that fails in the same run to be told of by itself
UNHEARD = ("alerts", "apicalls")
# so many runs of each stage that did work: the newest five are compared with the five before
TIMED_RUNS = 10
SCORED_RELEASES = 20

Line = Mapping[str, Any]
Kind = tuple[str | bool, ...]


def places(lines: Sequence[Line]) -> set[int]:
    """Where in these lines, which are in the order of the runs, those stand that must stay."""
    needed = set(_telling(_kinds(lines)))
    return needed | set(_timed(lines)) | set(_scored(lines)) | set(_of_failed_runs(lines, needed))


def _telling(kinds: Sequence[Kind]) -> Iterator[int]:
    last = {kind: place for place, kind in enumerate(kinds)}
    yield from last.values()
    for end in (-1, *last.values()):
        seen: set[Kind] = set()
        for place in range(end + 1, len(kinds)):
            if kinds[place] not in seen:
                seen.add(kinds[place])
                yield place


def _kinds(lines: Sequence[Line]) -> list[Kind]:
    """What each line can say of a state; a tick that fails since a stage failed in it says nothing itself."""
    ticks = {line["run"] for line in lines if line["stage"] == "fullprocess"}
    failed: set[str] = set()
    kinds: list[Kind] = []
    for line in lines:
        stage, run, facts = line["stage"], line["run"], line.get("facts") or {}
        if line["status"] in FINISHED:
            kinds.append((stage, line["status"], *(name for name in STATES if facts.get(name))))
            continue
        kinds.append((stage, line["status"], run in ticks, run in failed))
        if stage not in UNHEARD:
            failed.add(run)
    return kinds


def _timed(lines: Sequence[Line]) -> Iterator[int]:
    found: dict[str, list[int]] = defaultdict(list)
    for place, line in enumerate(lines):
        if line["status"] in FINISHED and line["status"] != IDLE:
            found[line["stage"]].append(place)
    for of_stage in found.values():
        yield from of_stage[-TIMED_RUNS:]


def _scored(lines: Sequence[Line]) -> list[int]:
    """The newest score of each release on new rows: after a rollback an older release is asked about."""
    found: dict[str, int] = {}
    for place, line in enumerate(lines):
        score = (line.get("facts") or {}).get("live_score")
        if isinstance(score, dict):
            # the newest stands last
            found.pop(release := str(score.get("release")), None)
            found[release] = place
    return list(found.values())[-SCORED_RELEASES:]


def _of_failed_runs(lines: Sequence[Line], needed: set[int]) -> Iterator[int]:
    """All failures of a run that has a needed one, and its tick: they tell the kind of each other."""
    runs = {lines[place]["run"] for place in needed if lines[place]["status"] not in FINISHED}
    for place, line in enumerate(lines):
        if line["run"] in runs and (line["status"] not in FINISHED or line["stage"] == "fullprocess"):
            yield place
