"""What is suggested for a client, and by when; a bad table is refused with every fault at once."""

from datetime import date
from pathlib import Path

import pytest

from attrition import config, plays
from attrition.errors import ConfigError
from attrition.plays import Play
from tests.projects import CHECKOUT

TODAY = date(2026, 3, 1)
LINES = """\
reason,band,action,days
logins,high,Call the users,5
logins,any,Write to the users,20
default,high,Call the client,7
default,any,Nothing special,90
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    place = tmp_path / "plays.csv"
    place.write_text(LINES)
    return place


def test_the_very_band_goes_before_any_and_an_unmapped_reason_falls_back(table: Path) -> None:
    book = plays.load(table)
    assert book.of("logins", "high") == Play("Call the users", 5)
    assert book.of("logins", "low") == Play("Write to the users", 20)
    assert book.of("tickets", "high") == book.of("", "high") == Play("Call the client", 7)
    assert book.of("tickets", "medium") == Play("Nothing special", 90)
    assert book.of("logins", "high") == Play("Call the users", 5)


@pytest.mark.parametrize("band", plays.BANDS)
def test_the_built_in_table_has_a_play_for_every_client(band: str) -> None:
    assert plays.load(None).of("whatever", band).action


def test_the_shipped_table_has_a_play_for_each_column_that_the_model_may_read() -> None:
    shipped = config.load(CHECKOUT / "config.json", {})
    book = plays.load(shipped.plays)
    assert sorted(book.reasons) == sorted(shipped.clients.features)
    assert {book.of(reason, "low") for reason in book.reasons} == {book.of("", "low")}


def test_a_date_once_given_holds_until_it_has_passed() -> None:
    play = Play("Call", 7)
    assert play.due(TODAY, None) == date(2026, 3, 8)
    assert play.due(TODAY, date(2026, 3, 2)) == date(2026, 3, 2)
    assert play.due(TODAY, TODAY) == TODAY
    assert play.due(TODAY, date(2026, 2, 28)) == date(2026, 3, 8)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "line 1: it has no column reason, band, action, days"),
        (LINES.replace(",days", ",weeks"), "line 1: it has no column days"),
        (LINES.replace("reason,band", "reason,reason,band"), "the column reason stands twice"),
        (LINES.replace("Call the users,5", "Call the users,soon"), "line 2: days is 'soon'"),
        (LINES.replace("Call the users,5", "Call the users,-1"), "line 2: days is '-1'"),
        (LINES.replace("Call the users,5", "Call the users,367"), "line 2: days is '367'"),
        (LINES.replace("Call the users,5", "Call the users,٥"), "line 2: days is '٥'"),
        (
            LINES.replace("logins,high", "logins,highest"),
            "line 2: the band 'highest' is none of high, medium",
        ),
        (LINES.replace("logins,any", "logins,high"), "line 3: there is a line for logins and high already"),
        (LINES.replace("Call the users", " "), "line 2: action is blank"),
        (LINES.replace("logins,high", ",high"), "line 2: reason is blank"),
        (LINES.replace("default,any", "default,low"), "no line has the reason default for the band medium"),
        (LINES.replace("Call the users,5", "Call the users"), "not as many cells as the first"),
        (LINES.replace("Call the users", '"Call the users'), "a quote is never closed"),
    ],
)
def test_a_bad_table_is_refused_with_place_fault_and_next_step(table: Path, text: str, fault: str) -> None:
    table.write_text(text)
    with pytest.raises(ConfigError) as refused:
        plays.load(table)
    told = str(refused.value)
    assert told.startswith(f"{table}: ") and fault in told
    assert "Correct it, or set risk.plays in config.json to null." in told


def test_every_fault_is_told_at_once(table: Path) -> None:
    table.write_text("reason,band,action,days\nlogins,high,,x\n")
    with pytest.raises(ConfigError, match=r"(?s)3 fault\(s\).*action is blank.*days is 'x'.*no line has"):
        plays.load(table)


def test_a_table_that_is_not_there_or_no_text_is_refused(tmp_path: Path, table: Path) -> None:
    for place in (tmp_path / "absent.csv", tmp_path, table / "below"):
        with pytest.raises(ConfigError, match="it is not there"):
            plays.load(place)
    table.write_bytes(LINES.encode("utf-16"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        plays.load(table)


def test_a_table_from_a_spreadsheet_reads_like_any(table: Path) -> None:
    table.write_bytes(b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n").replace("logins", " logins ").encode())
    assert plays.load(table).of("logins", "high") == Play("Call the users", 5)
