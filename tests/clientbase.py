"""Clients of every name, with owners and values, whose project went through every stage once."""

from typing import Any

import deployment
import diagnostics
import ingestion
import reporting
import scoring
import training
from attrition import stage
from attrition.config import Config
from tests import servers
from tests.projects import Project

COLUMNS = "corporation,lastmonth_activity,lastyear_activity,number_of_employees,sector,manager,worth,exited"
CLIENTS = {
    "categorical": ["sector"],
    "words": {"lastmonth_activity": "activity last month"},
    "owner": "manager",
    "value": "worth",
}
MANAGERS = ("Ann", "Bo", "")
HOSTILE = (
    "a" * 60,
    "one/two",
    "/leading/slash",
    "trailing/",
    "//two//",
    "50%",
    "%2F%2e",
    ".",
    "..",
    "...",
    "../../etc/passwd",
    "a\nline break",
    "a\\back\\slash",
    "quote\"and'apostrophe",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "&amp;",
    "question?mark=1&more#hash",
    "plus+and ;semicolon",
    "😀 emoji",
    "שלום \u202eright to left",
    "e\u0301 composed otherwise",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@here",
    "javascript:alert(1)",
    "NA",
)


def rows(count: int, start: int = 0, known: bool = True) -> list[str]:
    """Clients of whom low activity means leaving, more so in trade; every tenth tells the opposite."""
    made = []
    for i in range(start, start + count):
        leaves = i % 3 == 0
        month = (i * 7) % 23 if leaves else 60 + (i * 13) % 90
        sector = "trade" if i % 4 == (0 if leaves else 1) else "mining"
        left = int(leaves != (i % 10 == 9)) if known else ""
        figures = (month, month * 9 + i % 17, 5 + (i * 11) % 300)
        told = (f"client{i:05d}", *figures, sector, MANAGERS[i % 3], i % 50, left)
        made.append(",".join(map(str, told)))
    return made


def quoted(client: str) -> str:
    return f'"{client.replace(chr(34), chr(34) * 2)}"'


def settings(*candidates: str) -> dict[str, Any]:
    return {"clients": CLIENTS, "training": {"candidates": list(candidates)}}


def through_the_stages(project: Project, *candidates: str) -> Config:
    project.configure(**settings(*candidates))
    project.dataset("testdata.csv", rows(60, 2000), COLUMNS, "testdata")
    project.dataset("a.csv", rows(300), COLUMNS)
    hostile = [f"{quoted(client)},{at},{9 * at},{at + 1},trade,Ann,7," for at, client in enumerate(HOSTILE)]
    project.dataset("b.csv", [*rows(60, 5000, known=False), *hostile, '"empty",,,,,Bo,,'], COLUMNS)
    config = project.config(run="a-run")
    for step in (ingestion, training, scoring, deployment, diagnostics, reporting):
        stage.step(config, step.__name__, step.run)
    servers.finished(config)
    return config
