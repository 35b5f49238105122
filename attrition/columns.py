"""Columns of numbers that come piece by piece: in memory while they are small, else in a file without a name.

A column is asked for whole, so that the memory needed is that of one column, however many there are.
"""

from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from attrition import files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Columns:
    """A context, at whose end the numbers are gone; a killed process leaves no file either."""

    def __init__(self, folder: Path) -> None:
        self._file = files.unnamed(folder)
        self._pieces: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def __enter__(self) -> "Columns":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, column: str, values: "Floats") -> None:
        """More values of a column, shape (rows,)."""
        self._pieces[column].append((self._file.tell(), len(values)))
        self._file.write(values.tobytes())

    def values(self, column: str) -> "Floats":
        """All values of a column in the order in which they came, shape (rows,)."""
        import numpy as np

        pieces = self._pieces[column]
        found = np.empty(sum(rows for _, rows in pieces))
        filled = 0
        for start, rows in pieces:
            self._file.seek(start)
            found[filled : filled + rows] = np.frombuffer(self._file.read(8 * rows))
            filled += rows
        # so that what comes next is put behind everything
        self._file.seek(0, 2)
        return found
