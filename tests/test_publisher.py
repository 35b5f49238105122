import os
import threading
from pathlib import Path

import pytest

from attrition import publisher, signing
from attrition.errors import ReleaseError
from attrition.publisher import Edition, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    key = tmp_path / "signing.key"
    signing.make_key(key)
    return Shelf(tmp_path / "production", "releases", ("model", "score"), ReleaseError, "Run: something", key)


def publish(shelf: Shelf, word: str) -> Edition:
    def fill(draft: Path) -> None:
        (draft / "model").write_text(f"model {word}")
        (draft / "score").write_text(f"score {word}")

    return publisher.publish(shelf, fill, {"reason": word})


def age(shelf: Shelf) -> None:
    for folder in shelf.folder.iterdir():
        os.utime(folder, (1, 1))


def test_an_edition_becomes_current_with_its_fixed_names(shelf: Shelf) -> None:
    first, second = publish(shelf, "one"), publish(shelf, "two")
    assert (shelf.root / "model").read_text() == "model two"
    assert (shelf.root / "score").read_text() == "score two"
    assert (shelf.root / "previous" / "model").read_text() == "model one"
    assert (second.parent, second.sequence) == (first.id, first.sequence + 1)
    assert publisher.current(shelf) == second
    assert first.manifest["reason"] == "one"


def test_before_the_first_edition_there_is_none(shelf: Shelf) -> None:
    assert publisher.current(shelf) is None
    assert publisher.editions(shelf) == []


def test_a_draft_that_fails_leaves_nothing(shelf: Shelf) -> None:
    first = publish(shelf, "one")

    def fail(draft: Path) -> None:
        (draft / "model").write_text("half")
        raise ReleaseError("not proven")

    with pytest.raises(ReleaseError, match="not proven"):
        publisher.publish(shelf, fail, {})
    assert publisher.current(shelf) == first
    assert sorted(p.name for p in shelf.root.iterdir()) == ["current", "model", "releases", "score"]


def test_what_a_killed_writer_left_is_removed_by_the_next(shelf: Shelf) -> None:
    publish(shelf, "one")
    (shelf.root / ".draft-000002").mkdir()
    (shelf.root / ".draft-000002" / "model").write_text("half")
    (shelf.root / ".current.00000000.tmp").symlink_to("nowhere")
    second = publish(shelf, "two")
    assert publisher.current(shelf) == second
    assert not [p.name for p in shelf.root.iterdir() if p.name.startswith(".")]


def test_an_edition_that_was_never_made_current_is_passed_over(shelf: Shelf) -> None:
    first, second = publish(shelf, "one"), publish(shelf, "two")
    publisher.make_current(shelf, first)
    third = publish(shelf, "three")
    assert third.sequence == second.sequence + 1
    assert third.parent == first.id


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "extra", "link"])
def test_any_damage_is_found(shelf: Shelf, damage: str) -> None:
    edition = publish(shelf, "one")
    model = edition.path("model")
    if damage == "flip":
        model.write_text("model onf")
    elif damage == "cut":
        model.write_text("model")
    elif damage == "missing":
        model.unlink()
    elif damage == "extra":
        edition.path("more").write_text("x")
    else:
        model.rename(shelf.root / "elsewhere")
        model.symlink_to(shelf.root / "elsewhere")
    with pytest.raises(ReleaseError, match="more" if damage == "extra" else "model"):
        publisher.verify(shelf, edition)
    if damage in ("flip", "cut", "missing"):
        with pytest.raises(ReleaseError, match="not what was published"):
            publisher.read_verified(shelf, edition, "model")


@pytest.mark.parametrize("manifest", [None, "", "{}", "[]", '{"id": "000009-00000000"}'])
def test_a_damaged_manifest_is_a_fault_and_a_new_edition_takes_its_place(
    shelf: Shelf, manifest: str | None
) -> None:
    edition = publish(shelf, "one")
    path = edition.path("manifest.json")
    path.unlink()
    if manifest is not None:
        path.write_text(manifest)
    with pytest.raises(ReleaseError, match="Run: something"):
        publisher.current(shelf)
    second = publish(shelf, "two")
    assert publisher.current(shelf) == second
    assert second.parent is None


def test_a_current_that_is_no_link_is_a_fault(shelf: Shelf) -> None:
    shelf.root.mkdir()
    (shelf.root / "current").mkdir()
    with pytest.raises(ReleaseError, match="not a link"):
        publisher.current(shelf)


def test_old_editions_are_forgotten_but_none_that_may_be_in_use(shelf: Shelf) -> None:
    names = [publish(shelf, str(i)).id for i in range(6)]
    assert publisher.forget(shelf, keep=1) == []
    age(shelf)
    gone = publisher.forget(shelf, keep=1, pinned=frozenset({names[1]}))
    assert gone == [names[0], names[2], names[3]]
    assert [edition.id for edition in publisher.editions(shelf)] == [names[1], names[4], names[5]]


def test_a_new_edition_never_takes_the_number_of_a_forgotten_one(shelf: Shelf) -> None:
    publish(shelf, "one")
    second = publish(shelf, "two")
    age(shelf)
    publisher.forget(shelf, keep=1)
    assert publish(shelf, "three").sequence == second.sequence + 1


def test_readers_never_see_a_mix_while_editions_change(shelf: Shelf) -> None:
    publish(shelf, "0")
    done = threading.Event()
    mixed, reads = [], 0

    def write() -> None:
        for i in range(1, 60):
            publish(shelf, str(i))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        edition = publisher.current(shelf)
        assert edition is not None
        model, score = (publisher.read_verified(shelf, edition, name).decode() for name in ("model", "score"))
        reads += 1
        if model.split()[1] != score.split()[1]:
            mixed.append((model, score))
    writer.join()
    assert reads > 10
    assert mixed == []


def test_a_file_that_grew_is_known_by_its_pieces_and_any_changed_byte_shows(shelf: Shelf) -> None:
    entry = publish_text(shelf, "first\n", None)
    for more in ("second\n", "third\n"):
        entry = publish_text(shelf, more, entry)
    live = publisher.current(shelf)
    assert live is not None
    assert live.path("model").read_text() == "first\nsecond\nthird\n"
    assert [piece["size"] for piece in live.manifest["files"]["model"]["pieces"]] == [6, 7, 6]
    publisher.verify(shelf, live)
    whole = live.path("model").read_bytes()
    for place in range(len(whole)):
        live.path("model").write_bytes(whole[:place] + b"?" + whole[place + 1 :])
        with pytest.raises(ReleaseError, match="model is not what was published"):
            publisher.verify(shelf, live)
    for other in (whole + b"?", whole[:-1], b""):
        live.path("model").write_bytes(other)
        with pytest.raises(ReleaseError, match="model is not what was published"):
            publisher.verify(shelf, live)


def test_pieces_that_leave_bytes_out_are_no_entry_of_a_file(tmp_path: Path) -> None:
    place = tmp_path / "grown"
    place.write_text("first\n")
    short = {"size": 13, "pieces": publisher.grown(publisher.entry(place), place)["pieces"]}
    place.write_text("first\nsecond\n")
    assert publisher.entry(place, short) == {"size": 13} != short


def test_a_file_of_very_many_pieces_becomes_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "MOST_PIECES", 3)
    place = tmp_path / "grown"
    place.write_text("0")
    entry = publisher.entry(place)
    lengths = []
    for number in range(1, 6):
        place.write_text(place.read_text() + str(number))
        entry = publisher.grown(entry, place)
        lengths.append(len(entry.get("pieces", [0])))
        assert publisher.entry(place, entry) == entry
    assert lengths == [2, 3, 1, 2, 3]


def publish_text(shelf: Shelf, more: str, before: publisher.Entry | None) -> publisher.Entry:
    """An edition whose model is that of the last one and more."""

    def fill(draft: Path) -> dict[str, publisher.Entry]:
        place = draft / "model"
        place.write_text(((shelf.root / "model").read_text() if before else "") + more)
        entries.append(publisher.grown(before, place) if before else publisher.entry(place))
        return {"model": entries[0]}

    entries: list[publisher.Entry] = []
    publisher.publish(shelf, fill, {})
    return entries[0]
