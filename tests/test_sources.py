import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attrition import sources
from attrition.sources import Survey, Unreadable

# whatever decides how a file is read, and what it is read as
TEXT = st.lists(
    st.sampled_from(["a", "é", '"', ",", "\n", "\r\n", "\r", " ", "\t", "_", "#", "\0"]), max_size=40
)


def surveyed(place: Path) -> "Survey | str":
    descriptor = os.open(place, os.O_RDONLY)
    try:
        return sources.survey(descriptor)
    except Unreadable as fault:
        return f"{fault.code}: {fault.sentence}, {fault.sha256}"
    finally:
        os.close(descriptor)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(marks=TEXT, piece=st.integers(1, 7))
def test_a_survey_is_the_same_in_whatever_pieces_a_file_is_read_and_by_whatever_it_is_counted(
    marks: list[str], piece: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path_factory.getbasetemp() / "dataset.csv"
    place.write_bytes(("c,d\n" + "".join(marks)).encode())
    with monkeypatch.context() as patch:
        patch.setattr(sources, "PIECE", 1 << 16)
        whole = surveyed(place)
        patch.setattr(sources, "WORTH_NUMPY", 0)
        assert surveyed(place) == whole
        patch.setattr(sources, "PIECE", piece)
        found = surveyed(place)
    if isinstance(whole, Survey) and isinstance(found, Survey):
        # a quote that comes late leaves the bytes before it unlooked at: then the slower reader is taken
        assert whole.plain >= found.plain
        found = replace(found, plain=whole.plain)
    assert found == whole
