"""Empty pictures of the right size, for tests that look at none: drawing takes most of a tick's time."""

from typing import Any
from unittest import mock

from matplotlib.figure import Figure


def empty() -> Any:
    """A context in which figures are laid out and written, with nothing drawn on them."""
    return mock.patch.object(Figure, "draw", _ground)


def _ground(figure: Figure, renderer: Any) -> None:
    figure.patch.draw(renderer)
