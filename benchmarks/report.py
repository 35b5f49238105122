"""What report, twin, PDF and list cost beside drawing their plots alone: 10,000 clients, 20 columns."""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.risklist import CLIENTS, _fill, _least, _ready

AIM = 4.0


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _fill(home)
        _ready(home)
        costs = _costs(home)
    alone = costs["the plots alone"]
    print(
        f"{CLIENTS:,} active clients, within one process that has its libraries loaded, the least of five:\n"
    )
    print("| what | CPU ms | times the plots alone |\n|---|---|---|")
    for name, cost in costs.items():
        print(f"| {name} | {1000 * cost:.0f} | {cost / alone:.2f} |")
    reached = "yes" if costs["all: gathered, drawn, listed"] <= AIM * alone else "no"
    print(f"\nAsked for: all at most {AIM:g} times the plots alone. Reached: {reached}.")


def _costs(home: Path) -> dict[str, float]:
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
    run_of_all()
    return {
        "the plots alone": _least(lambda: _plots(facts)),
        "all: gathered, drawn, listed": _least(run_of_all),
        "of it gathered, with the plots": _least(gathered),
        "of it the sections": _least(lambda: sections.told(facts, 250)),
        "of it the page": _least(lambda: pages.report(told, facts.pictures)),
        "of it the PDF": _least(lambda: paper.report(text, facts.pictures, facts.at)),
    }


def _plots(facts: Any) -> None:
    """The same plots, each as an SVG for the screen and a PNG for paper."""
    import reporting
    from attrition.album import Album

    album = Album()
    reporting.of_scores(album, facts.scores)
    reporting.of_the_model(album, facts.model, facts.typical)
    reporting.of_the_runs(album, facts.past, facts.stage_runs, facts.courses, facts.columns)
