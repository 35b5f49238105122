"""report.pdf, read again: what a person can select, and what a reader of files is told."""

import io
import json
import re
import unicodedata

import pytest
from pypdf import PdfReader

from attrition import paper, plots, writing
from tests.projects import Project
from tests.test_reporting import LONG, SCRIPT, Page, _classic, _page
from tests.test_reporting import base as base

ARABIC, HEBREW, CYRILLIC, GREEK = "شركة السلام", "חברת שלום", "Завод Югра", "Ωμέγα ΑΕ"
CJK = "株式会社"
AT = "2026-03-01T06:00:02Z"


def pdf(project: Project, folder: str = "models") -> PdfReader:
    return PdfReader(project.home / folder / "report.pdf")


def text_of(reader: PdfReader) -> str:
    """All text, letters in the shape they are written with; blanks as one."""
    text = " ".join(page.extract_text() for page in reader.pages)
    return " ".join(unicodedata.normalize("NFKC", text).split())


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


class Printed(Page):
    """What of a page is printed."""

    def handle_data(self, data: str) -> None:
        if not {"title", "nav"} & set(self.open) and not data.startswith(("Skip to", "Find a")):
            super().handle_data(data)


@pytest.fixture(scope="module")
def told(base: Project) -> str:
    return text_of(pdf(base))


def test_the_pdf_says_what_the_page_says(base: Project, told: str) -> None:
    words = Printed(base.read("models/report.html")).words
    assert len(words) > 1000
    printed = squeezed(told)
    assert [word for word in words if unicodedata.normalize("NFKC", word) not in printed] == []


def test_every_figure_of_a_plot_stands_below_it(base: Project, told: str) -> None:
    images = _page(base).all("img")
    assert len(images) <= 8
    for image in images:
        assert squeezed(image["alt"])[:60] in squeezed(told)


def test_its_pages_are_numbered_and_its_sections_are_bookmarks(base: Project) -> None:
    reader = pdf(base)
    for number, page in enumerate(reader.pages, start=1):
        assert f"Page {number} of {len(reader.pages)}" in page.extract_text()
    titles = [entry.title for entry in reader.outline if not isinstance(entry, list)]
    assert titles[1:] == [
        "This week's list", "What changed", "What is at stake", "How far to trust it",
        "What the model looks at", "Data health", "Operations", "The model card", "How to reproduce",
    ]  # fmt: skip
    parts = [part for part in reader.outline if isinstance(part, list)]
    below = [entry.title for part in parts for entry in part if not isinstance(entry, list)]
    assert {"Lift by tenth", "Stage timings", "Commands"} <= set(below)


def test_it_is_dated_by_the_run_and_the_same_facts_give_the_same_bytes(base: Project) -> None:
    reader, facts = pdf(base), json.loads(base.read("models/report.json"))
    assert reader.metadata is not None
    date = reader.metadata.creation_date
    assert date is not None and f"{date:%Y-%m-%dT%H:%M:%SZ}" == facts["at"]
    page = page_of("<p>Alder</p>")
    assert paper.report(page, {}, AT) == paper.report(page, {}, AT)
    assert b"20260301060002" in paper.report(page, {}, AT)


def test_names_of_any_alphabet_can_be_read_and_what_has_no_sign_is_said(project: Project) -> None:
    names = (ARABIC, HEBREW, CYRILLIC, GREEK, LONG, SCRIPT, CJK, "\N{GRINNING FACE} Ltd")
    rows = [f'"{name}",1,9,5,' for name in names]
    _classic(project, rows=rows, risk={"capacity": 400})
    told = squeezed(text_of(pdf(project)))
    for name in (*names[2:6], names[-1]):
        assert squeezed(name) in told
    # drawn from the left, a reader's program turns it round again, or does not
    for name in (ARABIC, HEBREW):
        assert all(word in told or word[::-1] in told for word in name.split())
    signs = ", ".join(f"U+{ord(sign):04X}" for sign in CJK)
    assert squeezed(f"The font of this file has no sign for {signs}: each is drawn as a box.") in told


def test_when_every_client_has_left_there_is_a_pdf(project: Project) -> None:
    _classic(project, rows=[f"client{i:05d},1,9,5,1" for i in range(150)])
    assert "No client to list: none is active." in text_of(pdf(project))


def test_a_long_list_repeats_its_heading_and_cuts_no_row(project: Project) -> None:
    rows = [f"{LONG}{i:05d},{i % 200},{i % 1500},{1 + i % 300}," for i in range(300)]
    _classic(project, rows=rows, risk={"capacity": 250})
    pages = [page.extract_text() for page in pdf(project).pages]
    of_list = [text for text in pages if text.count("By 20") > 2]
    assert len(of_list) > 10
    for text in of_list:
        assert "Probability," in text and "Reasons" in text
        # each row ends with its action: on every page there are as many ends as there are beginnings
        assert len(re.findall(r"\d+% (?:High|Medium|Low)", text)) == text.count("By 20")


def page_of(body: str) -> str:
    return f"<html><head><title>t</title></head><body><h1>Title</h1>{body}</body></html>"


def read(body: str) -> str:
    return text_of(PdfReader(io.BytesIO(paper.report(page_of(body), {}, AT))))


def test_a_row_longer_than_a_page_is_cut_with_a_sign() -> None:
    cell = " ".join(f"word{at}" for at in range(5000))
    told = read(
        f"<table><thead><tr><th>a</th><th>b</th></tr></thead><tr><td>x</td><td>{cell}</td></tr></table>"
    )
    assert "word0 word1" in told and "word4999" not in told and "..." in told


def test_a_word_longer_than_a_line_is_broken_and_whole() -> None:
    word = "".join(chr(97 + at % 26) for at in range(400))
    assert word in squeezed(read(f"<p>{word}</p>"))


def test_what_is_hidden_or_for_machines_is_not_printed() -> None:
    told = read('<nav>go</nav><p class="search">find</p><script>run()</script><style>p{}</style><p>seen</p>')
    assert "seen" in told and not any(word in told for word in ("go", "find", "run", "p{}"))


def test_names_that_look_like_markup_are_printed_as_they_are() -> None:
    assert "<b>&amp;</b> $x_{$ %s" in read("<p>&lt;b&gt;&amp;amp;&lt;/b&gt; $x_{$ %s</p>")


@pytest.mark.draws
def test_a_picture_is_drawn_with_its_words() -> None:
    drawn = plots.calibration_picture([{"predicted": 0.1, "observed": 0.2, "count": 50}])
    body = (
        f'<figure><img src="{drawn.uri}" alt="{drawn.alt}"><figcaption>{drawn.reading}</figcaption></figure>'
    )
    reader = PdfReader(io.BytesIO(paper.report(page_of(body), {"calibration": drawn}, AT)))
    assert len(reader.pages[0].images) == 1
    assert drawn.reading in text_of(reader) and "10% predicted, 20% left" in text_of(reader)


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("plain", "plain"),
        ("שלום", "םולש"),
        ("חברת 12 בע״מ", "מ״עב 12 תרבח"),
        ("Acme שלום Ltd", "Acme םולש Ltd"),
        ("a (שלום) b", "a (םולש) b"),
        ("1,204 שלום", "1,204 םולש"),
        ("שלום 50% abc", "50% םולש abc"),
    ],
)
def test_a_line_is_drawn_in_the_order_of_its_signs(text: str, drawn: str) -> None:
    assert writing.visual(text) == drawn


def test_figures_after_a_name_that_is_read_from_the_right_stand_behind_it() -> None:
    page = "<p><bdi>שלום</bdi> <span>20 of 5,000 clients</span></p><p><bdi>שלום 20</bdi></p>"
    after, whole = (block.text for block in paper.read(page) if isinstance(block, paper.Words))
    assert paper._lines(after, paper.PLAIN, 9, 400) == ["םולש 20 of 5,000 clients"]
    assert paper._lines(whole, paper.PLAIN, 9, 400) == ["20 םולש"]


def test_a_name_that_begins_on_the_right_is_drawn_from_there() -> None:
    assert writing.begins_right("12 שלום abc") and not writing.begins_right("abc שלום")
    assert writing.visual("שלום abc (דג)", from_right=True) == "(גד) abc םולש"


@pytest.mark.parametrize(
    ("word", "shapes"),
    [
        ("سلام", "initial final+alef isolated"),
        ("بيت", "initial medial final"),
        ("دار", "isolated isolated isolated"),
        ("ب", "isolated"),
    ],
)
def test_arabic_letters_take_the_shape_that_their_neighbours_ask_for(word: str, shapes: str) -> None:
    told = [
        unicodedata.decomposition(sign).split()[0].strip("<>")
        + ("+alef" if len(unicodedata.normalize("NFKC", sign)) > 1 else "")
        for sign in writing.joined(word)
    ]
    assert " ".join(told) == shapes
    assert unicodedata.normalize("NFKC", writing.joined(word)) == word


def test_a_shape_that_the_font_lacks_leaves_the_letter() -> None:
    assert writing.joined("بيت", frozenset()) == "بيت"
