"""Pictures that were drawn before: a plot whose figures are still the same is not drawn again.

A picture is known by the sha256 of what it shows and of what draws it. Beside them stand the styles
that seaborn told, so that it is asked once. The file that keeps them may go at any time: what is not there is
drawn.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attrition import files, plots
from attrition.plots import Picture

LIBRARIES = ("matplotlib", "seaborn", "scikit-learn")


class Album:
    """The pictures that the last report showed, and those that the next one does."""

    def __init__(self, place: Path | None = None) -> None:
        self._kept, styles = _read(place) if place else ({}, {})
        for name, style in styles.items():
            plots.STYLES.setdefault(name, style)
        self._shown: dict[str, Picture] = {}

    def of(self, draw: Callable[..., Picture], *facts: Any) -> Picture:
        """The picture that `draw` makes of the facts."""
        name = _name(draw, facts)
        picture = self._shown[name] = self._kept.get(name) or draw(*facts)
        return picture

    def kept(self) -> bytes:
        """What the next report need not draw."""
        pictures = {
            name: {**asdict(picture), "printed": base64.b64encode(picture.printed).decode()}
            for name, picture in self._shown.items()
        }
        told = {"pictures": pictures, "styles": plots.STYLES, "told_by": version("seaborn")}
        return json.dumps(told).encode()


def _read(place: Path) -> tuple[dict[str, Picture], Mapping[str, Any]]:
    """Pictures and styles by name; nothing where there is no such file, or it is damaged."""
    try:
        told = files.read_json(place)
        pictures = {name: _picture(each) for name, each in told["pictures"].items()}
        return pictures, dict(told["styles"]) if told["told_by"] == version("seaborn") else {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}, {}


def _picture(told: Mapping[str, str]) -> Picture:
    return Picture(
        told["uri"], told["alt"], told["reading"], base64.b64decode(told["printed"], validate=True)
    )


def _name(draw: Callable[..., Picture], facts: tuple[Any, ...]) -> str:
    told = json.dumps([_drawn_by(), draw.__name__, facts], default=_plain)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _drawn_by() -> str:
    code = hashlib.sha256(Path(plots.__file__).read_bytes()).hexdigest()
    return " ".join([code, *(version(library) for library in LIBRARIES)])


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be told apart by its text")
