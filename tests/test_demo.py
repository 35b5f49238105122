"""The demo: a year of ticks in a folder of its own."""

from pathlib import Path

import pytest

from attrition import demo


def test_months_arrive_and_are_told_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "YEAR", 2)
    monkeypatch.setattr(demo, "CHANGE", 2)
    home = tmp_path / "a year"
    assert demo.main(["--out", str(home), "--clients", "120"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:9] for line in lines[:3]] == ["* 2025-08", "  2025-09", "  2025-10"]
    assert "beats a constant" in lines[0]
    assert lines[-2].endswith("practicemodels/report.html")
    assert (home / "practicemodels/report.pdf").exists()
    # outcomes come three months late
    assert ",1\n" in (home / "practicedata/clients-2025-07.csv").read_text()
    assert ",1\n" not in (home / "practicedata/clients-2025-08.csv").read_text()


def test_a_folder_with_something_in_it_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        demo.main(["--out", str(tmp_path)])
    assert ended.value.code == 2
    assert "this is there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
