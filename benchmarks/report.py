"""What report, twin, PDF and list cost beside drawing their plots alone, by clients of 20 columns."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.risklist import fill, ready

AIM, RUNS = 4.0, 3
SIZES = (1_000, 3_000, 10_000)
ALONE, ALL = "the plots alone", "all: gathered, drawn, listed"


def run() -> None:
    found = {}
    for clients in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            fill(home, clients)
            ready(home)
            pieces = _pieces(home)
            told = pieces if clients == max(SIZES) else {name: pieces[name] for name in (ALONE, ALL)}
            found[clients] = measure.within(told, RUNS)
    costs = found[max(SIZES)]
    print(f"{max(SIZES):,} active clients, within one process that has its libraries loaded, {RUNS} runs:\n")
    print(f"{measure.table(costs, ALONE)}\n\n{measure.growth('active clients', found)}")
    reached = "yes" if costs[ALL].cpu <= AIM * costs[ALONE].cpu else "no"
    print(f"\nAsked for: all at most {AIM:g} times the plots alone. Reached: {reached}.")


def _pieces(home: Path) -> dict[str, Callable[[], object]]:
    import reporting
    from attrition import config, generations, pages, paper, plays, releases, sections

    configured = config.load(home / "config.json", {})
    release, generation = releases.require_live(configured), generations.require_current(configured)
    book = plays.load(configured.plays)

    def gathered() -> Any:
        return reporting.gather(configured, release, generation, book)

    facts = gathered()
    told, page = reporting.told_and_drawn(facts)
    text, run_of_all = page.decode(), lambda: reporting.draw(configured, gathered())
    return {
        ALONE: lambda: _plots(facts),
        ALL: run_of_all,
        "of it gathered, with the plots": gathered,
        "of it the sections": lambda: sections.told(facts, 250),
        "of it the page": lambda: pages.report(told, facts.pictures),
        "of it the PDF": lambda: paper.report(text, facts.pictures, facts.at),
    }


def _plots(facts: Any) -> None:
    """The same plots, each as an SVG for the screen and a PNG for paper."""
    import reporting
    from attrition.album import Album

    album = Album()
    reporting.of_scores(album, facts.scores)
    reporting.of_the_model(album, facts.model, facts.typical)
    reporting.of_the_runs(album, facts.past, facts.stage_runs, facts.courses, facts.columns)
