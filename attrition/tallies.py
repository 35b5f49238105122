"""Counts that all workers of one server share: each writes a row of its own, whoever asks adds the rows up.

The memory is made before the workers are forked, so that nothing lies on disk and no count is lost with a
worker: who takes its row goes on counting there. A process that nobody forked has the first row.
"""

import mmap
from threading import Lock

ROWS = 64
_row = 0


def take(row: int) -> None:
    """This process counts in a row that no other living one has."""
    global _row
    _row = row % ROWS


class Tallies:
    """`width` counts, all 0 at first."""

    def __init__(self, width: int) -> None:
        self.width = width
        # the last cell tells how many rows were ever counted in
        self._cells = memoryview(mmap.mmap(-1, (ROWS * width + 1) * 8)).cast("d")
        self._used = ROWS * width
        self._lock = Lock()

    def add(self, *amounts: tuple[int, float]) -> None:
        """Add to some counts: (place, amount)."""
        base, cells = _row * self.width, self._cells
        with self._lock:
            self._mark()
            for place, amount in amounts:
                cells[base + place] += amount

    def replace(self, place: int, value: float) -> None:
        """Set this process's share of a count."""
        with self._lock:
            self._mark()
            self._cells[_row * self.width + place] = value

    def own(self, place: int) -> float:
        return self._cells[_row * self.width + place]

    def shares(self, place: int) -> list[float]:
        """What each process has."""
        cells, width = self._cells, self.width
        return [cells[row * width + place] for row in range(int(cells[self._used]))]

    def totals(self) -> list[float]:
        """Every count, over all processes."""
        width = self.width
        rows = range(int(self._cells[self._used]))
        parts = [self._cells[row * width : (row + 1) * width].tolist() for row in rows]
        return [sum(shares) for shares in zip(*parts, strict=True)] or [0.0] * width

    def _mark(self) -> None:
        # two processes may do so at once and one of them in vain: its next count does it again
        if self._cells[self._used] <= _row:
            self._cells[self._used] = _row + 1
