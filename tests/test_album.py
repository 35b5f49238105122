"""Pictures are kept by what they show: drawn once, and anew whenever anything about them changes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attrition import album, files, plots
from attrition.album import Album
from attrition.plots import Picture
from tests.projects import Project, classic_rows

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
    assert len(json.loads(place.read_text())) == 1
    monkeypatch.setattr(album, "_drawn_by", lambda: "another matplotlib")
    assert shown({"a": 1.0}) == 4


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', '{"x": {"uri": "u"}}', "\0", '{"x": null}'])
def test_a_damaged_album_is_an_empty_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "pictures.json").write_text(content)
    pen = Pen()
    Album(tmp_path / "pictures.json").of(pen, {"a": 1.0})
    assert pen.drawn == 1


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
