"""Run histories as a pipeline under cron writes them, from a seed: a year of them in seconds."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
STAGES = ("ingestion", "diagnostics", "reporting", "apicalls")


def ticks(count: int, seed: int = 0, minutes: int = 10) -> Iterator[list[dict[str, Any]]]:
    """The lines of each tick: each has new rows from a database, some retrain, and some fail."""
    chance, begin = random.Random(seed), BEGIN
    for number in range(count):
        begin += timedelta(minutes=minutes)
        run = f"{begin:%Y%m%dT%H%M%S}.000Z-{1000 + number % 9000}"
        yield [_line(run, begin, *told) for told in _tick(chance, number)]


def _tick(chance: random.Random, number: int) -> Iterator[tuple[str, str, float, dict[str, Any]]]:
    kind = chance.choices(("usual", "idle", "retrained", "failed", "by hand"), (80, 5, 5, 7, 3))[0]
    if kind == "by hand":
        yield _ran(chance, chance.choice(("training", "scoring")), chance.choice(("done", "failed")))
        return
    if kind == "idle":
        yield _ran(chance, "fullprocess", "nothing to do")
        return
    stages = [*STAGES[:1], "training", "scoring", "deployment", *STAGES[1:]]
    stages = stages if kind == "retrained" else list(STAGES)
    broken = chance.choice([*stages, "fullprocess"]) if kind == "failed" else ""
    for stage in stages:
        status = "failed" if stage == broken else "done"
        yield _ran(chance, stage, status)
        if status == "failed" and stage != "apicalls":
            yield _ran(chance, "fullprocess", "failed")
            return
    status = "failed" if broken == "fullprocess" else chance.choice(("done",) * 9 + ("refused",))
    yield _ran(chance, "fullprocess", status, kind == "retrained", number)


def _ran(
    chance: random.Random, stage: str, status: str, retrained: bool = False, number: int = 0
) -> tuple[str, str, float, dict[str, Any]]:
    seconds = round(chance.lognormvariate(0.5, 0.4), 3)
    if status == "failed":
        return stage, status, seconds, {}
    facts: dict[str, Any] = {"sizes": [chance.randrange(1000) for _ in range(12)]}
    if stage == "ingestion":
        facts |= {"rows_total": 5000 + number, "rows_added": 3, "rows_rejected": chance.randrange(2)}
    if stage == "scoring":
        facts |= {"f1": round(chance.uniform(0.5, 0.7), 4), "log_loss": round(chance.uniform(0.3, 0.5), 4)}
    if stage == "fullprocess" and status != "nothing to do":
        facts |= _verdict(chance, retrained, number)
    return stage, status, seconds, facts


def _verdict(chance: random.Random, retrained: bool, number: int) -> dict[str, Any]:
    value = chance.uniform(0.5, 0.7)
    figure = {"value": value, "low": value - 0.05, "high": value + 0.05, "no_skill": 0.3}
    scored = {"release": f"{1 + number // 500:06d}-abc", "rows": 40, "figures": {"f1": figure}}
    return {
        "reason": f"This is the reason of tick {number}.",
        "ingested": f"{number:06d}-cafe",
        "live_score": scored if chance.random() < 0.4 else None,
        "drift": {"reason": f"drift in tick {number}"} if chance.random() < 0.3 else None,
        "retrained": retrained,
        "promoted": retrained and chance.random() < 0.5,
    }


def _line(
    run: str, begin: datetime, stage: str, status: str, seconds: float, facts: dict[str, Any]
) -> dict[str, Any]:
    told = {"run": run, "stage": stage, "started": f"{begin:%Y-%m-%dT%H:%M:%SZ}", "seconds": seconds}
    sentence = f"{stage} broke in {run}" if status == "failed" else f"{stage} is {status}."
    return {**told, "status": status, "sentence": sentence, "facts": facts}
