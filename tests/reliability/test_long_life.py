"""A year under cron: nothing that lies about or is held grows with the number of ticks."""

import json

from tests.projects import classic_rows
from tests.reliability import ALL, checks, scenarios
from tests.reliability.attempts import Server
from tests.reliability.conftest import Tell
from tests.reliability.years import TICKS_A_WEEK

WEEKS = 52 if ALL else 6
# the first weeks fill what is kept: editions, reports, caches of libraries
SETTLED = 26 if ALL else 4
MEGABYTES = 60
# a line of a week's run in the history, with room; idle ticks write none
BYTES_A_RUN = 20_000


def test_a_year_of_ticks_leaves_no_more_than_a_few_weeks(server: Server, tell: Tell) -> None:
    with scenarios.stand(server) as stand:
        scenarios.live(stand)
        done = server.attempt("tests.reliability.years:main", stand.home, str(WEEKS), *stand.arguments)
        assert done.status == 0, done.err
        weeks = json.loads(done.out)
        settled, last = weeks[SETTLED - 1], weeks[-1]
        assert last["descriptors"] == weeks[0]["descriptors"]
        assert last["megabytes"] - settled["megabytes"] < MEGABYTES
        assert last["history"] - settled["history"] < BYTES_A_RUN * (WEEKS - SETTLED)
        if ALL:
            assert last["files"] <= settled["files"] + 2
        checks.whole(stand.project.config())
        rows = len(stand.project.read("ingesteddata/finaldata.csv").splitlines()) - 1
        assert rows == len(classic_rows(120)) + 12
        told = " ".join(f"{name} {settled[name]:.0f} > {last[name]:.0f};" for name in last)
        tell("a long life", f"week {SETTLED} > week {WEEKS}: {told}", WEEKS, WEEKS * TICKS_A_WEEK, 0)
