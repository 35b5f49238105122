"""Run history: one JSON line per stage run, appended, never rewritten.

    {"run": ..., "stage": "training", "started": "2026-03-01T06:00:02Z", "seconds": 1.9,
     "status": "done", "sentence": "...", "facts": {...}}

The order of the lines is the order of the runs, whatever the clock did.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrition import files

FINISHED = ("done", "nothing to do", "refused")


def append(history: Path, entry: Mapping[str, Any]) -> None:
    files.append_line(history, json.dumps(entry, ensure_ascii=True, allow_nan=False, sort_keys=False))


def entries(history: Path) -> list[dict[str, Any]]:
    """All runs, oldest first; a line torn by a killed writer is passed over."""
    try:
        lines = history.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return list(_readable(lines))


def last(history: Path, stage: str) -> dict[str, Any] | None:
    return next((entry for entry in reversed(entries(history)) if entry["stage"] == stage), None)


def last_finished(history: Path, stage: str) -> dict[str, Any] | None:
    for entry in reversed(entries(history)):
        if entry["stage"] == stage and entry["status"] in FINISHED:
            return entry
    return None


def _readable(lines: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"run", "stage", "started", "seconds", "status"} <= entry.keys():
            yield entry
