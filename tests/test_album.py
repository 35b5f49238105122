"""Pictures are kept by what they show: drawn once, and anew whenever anything about them changes."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attrition import album, files, plots
from attrition.album import Album
from attrition.plots import Picture
from tests.projects import CHECKOUT, Project, classic_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONFUSION = {"true_positive": 30, "false_positive": 12, "false_negative": 8, "true_negative": 150}


class Pen:
    """Counts how often it draws."""

    def __init__(self) -> None:
        self.drawn = 0
        self.__name__ = "pen"

    def __call__(self, facts: Mapping[str, float]) -> Picture:
        self.drawn += 1
        return Picture("data:image/png;base64,", f"{facts}", "", b"\x89PNG\xff")


def test_what_was_drawn_is_not_drawn_again_and_is_the_same(tmp_path: Path) -> None:
    first = Album()
    drawn = first.of(plots.confusion_picture, CONFUSION, 0.4)
    files.write_bytes(tmp_path / "pictures.json", first.kept())
    assert Album(tmp_path / "pictures.json").of(pen := Pen(), {"a": 1.0}).alt and pen.drawn == 1
    again = Album(tmp_path / "pictures.json").of(plots.confusion_picture, CONFUSION, 0.4)
    assert again == drawn == plots.confusion_picture(CONFUSION, 0.4)


def test_another_figure_or_another_way_to_draw_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, pen = tmp_path / "pictures.json", Pen()

    def shown(facts: Mapping[str, float]) -> int:
        here = Album(place)
        here.of(pen, facts)
        files.write_bytes(place, here.kept())
        return pen.drawn

    assert [shown({"a": 1.0}), shown({"a": 1.0}), shown({"a": 1.5}), shown({"a": 1.5})] == [1, 1, 2, 2]
    # only what the last report showed is kept
    assert shown({"a": 1.0}) == 3
    assert len(json.loads(place.read_text())["pictures"]) == 1
    monkeypatch.setattr(album, "_drawn_by", lambda: "another matplotlib")
    assert shown({"a": 1.0}) == 4


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "\0",
        '{"x": 1}',
        '{"pictures": null, "styles": {}, "told_by": ""}',
        '{"pictures": {"x": 1}, "styles": {}, "told_by": ""}',
        '{"pictures": {"x": {"uri": "u"}}, "styles": {}, "told_by": ""}',
    ],
)
def test_a_damaged_album_is_an_empty_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "pictures.json").write_text(content)
    pen = Pen()
    Album(tmp_path / "pictures.json").of(pen, {"a": 1.0})
    assert pen.drawn == 1


DRAW_ELSEWHERE = """
import sys
from pathlib import Path
from attrition import plots
from attrition.album import Album
bins = [{"predicted": 0.1, "observed": 0.2, "count": 9}]
drawn = Album(Path(sys.argv[1])).of(plots.calibration_picture, bins)
print("seaborn" in sys.modules, drawn.uri)
"""


@pytest.mark.draws
def test_what_seaborn_told_is_not_asked_again_and_draws_the_same(tmp_path: Path) -> None:
    place = tmp_path / "pictures.json"
    drawn = Album().of(plots.calibration_picture, [{"predicted": 0.1, "observed": 0.2, "count": 9}])
    files.write_bytes(place, Album().kept())
    assert drawn_elsewhere(place) == f"False {drawn.uri}"
    kept = json.loads(place.read_text())
    for damage in (
        {**kept, "told_by": "0.1"},
        {**kept, "styles": {"whitegrid": {"axes.grid": "perhaps"}}},
        {**kept, "styles": {"whitegrid": {"axes.no such thing": 1}}},
        {**kept, "styles": {"whitegrid": None}},
    ):
        place.write_text(json.dumps(damage))
        assert drawn_elsewhere(place) == f"True {drawn.uri}"
    # what is no matter of these styles is not taken from a file
    place.write_text(json.dumps({**kept, "styles": with_latex(kept["styles"])}))
    assert drawn_elsewhere(place) == f"False {drawn.uri}"


def drawn_elsewhere(place: Path) -> str:
    """Whether a new process imports seaborn to draw, and what it draws."""
    done = subprocess.run(
        [sys.executable, "-c", DRAW_ELSEWHERE, str(place)], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def with_latex(styles: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: {**style, "text.usetex": True} for name, style in styles.items()}


@pytest.mark.draws
def test_a_report_on_new_rows_draws_only_what_they_changed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.here = True
    project.dataset("a.csv", classic_rows(200))
    project.dataset("test.csv", classic_rows(90, start=1000), folder="testdata")
    assert project.run("fullprocess.py").returncode == 0
    drawn: list[str] = []
    picture = plots.picture

    def noted(figure: "Figure", alt: str, reading: str) -> Picture:
        drawn.append(alt)
        return picture(figure, alt, reading)

    monkeypatch.setattr(plots, "picture", noted)
    assert project.run("reporting.py").returncode == 0
    assert [told.split(".")[0] for told in drawn] in ([], ["All runs"], ["Trend"])
    whole = project.read("models/report.html")
    project.write("models/pictures.json", "{}")
    assert project.run("reporting.py").returncode == 0
    assert len(drawn) >= 5
    # kept or drawn, the pictures have the same bytes; but for the trend, which has one more run
    assert len({*images(whole)} - {*images(project.read("models/report.html"))}) <= 1


def images(page: str) -> list[str]:
    return [part.split('"')[0] for part in page.split('src="')[1:]]
