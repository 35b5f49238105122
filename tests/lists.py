"""A whole risk list at once, as small tests like it; the report makes its list some entries at a time."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from attrition import listfiles, risklist
from attrition.risklist import Entry
from attrition.settings import Clients


def rank(*about: Any) -> list[Entry]:
    """All entries of risklist.ranked."""
    return [entry for entries in risklist.ranked(*about) for entry in entries]


def kept(
    clients: Clients,
    entries: Sequence[Entry],
    short: Sequence[Entry],
    table: pd.DataFrame,
    number: int,
    release_id: str,
    scored_at: str,
) -> bytes:
    """The content of list.zip, at a threshold of 0.5."""
    keeper = listfiles.Keeper()
    keeper.add(entries)
    return keeper.packed(clients, short, [table], number, release_id, 0.5, scored_at)
