"""The page of the report on paper: its elements, in its words, as a PDF with page numbers and bookmarks.

The page is read as a browser would read it, so that both say the same; a plot is drawn from its PNG. Text
can be selected and searched. What the font has no sign for is drawn as a box, and the last page says so.
"""

import hashlib
import io
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrition import writing
from attrition.plots import Picture

if TYPE_CHECKING:
    from reportlab.lib.colors import Color
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas
    from reportlab.platypus import Flowable, Table

PLAIN, BOLD = "DejaVuSans", "DejaVuSans-Bold"
MM = 72 / 25.4
WIDTH, HEIGHT, MARGIN = 210 * MM, 297 * MM, 15 * MM
INSIDE = WIDTH - 2 * MARGIN
INK, MUTED, LINE, SOFT = "#1d2530", "#566070", "#d5dae1", "#f5f7f9"
# size, font, colour and space above of each kind of text
STYLES = {
    "h1": (16, BOLD, INK, 0),
    "h2": (13, BOLD, INK, 14),
    "h3": (10, BOLD, INK, 9),
    "h4": (9, BOLD, INK, 7),
    "p": (8.5, PLAIN, INK, 4),
    "note": (7.5, PLAIN, MUTED, 3),
    "callout": (8.5, BOLD, INK, 5),
}
LEADING = 1.35
CELL, PAD = 7.5, 3.0
# a row must fit a page: what others wrote is cut long before
MOST_LINES = 40
# what must still fit on the page where a heading stands
TOGETHER = {"h1": 0.0, "h2": 130.0, "h3": 70.0, "h4": 70.0}
PLOT_WIDTH, PLOT_HEIGHT = 88 * MM, 150 * MM
SKIPPED = ("head", "nav", "script", "style")
HIDDEN = {"skip", "search", "level"}
VOID = ("meta", "img", "br", "input", "link", "hr")
MOST_NAMED = 20
SIGNATURE = b"\x89PNG\r\n\x1a\n"
# bits a colour, three colours, and the only ways there are to compress and to filter; not interlaced
RGB = [8, 2, 0, 0, 0]
SIGN = re.compile(r"<(\w\w)> <(\w{4,6})>")


@dataclass(frozen=True)
class Words:
    """A heading or a paragraph; `kind` is a key of STYLES."""

    kind: str
    text: str


@dataclass(frozen=True)
class Drawing:
    """A plot by the address that the page gives it, its caption, and its text alternative."""

    source: str
    alt: str
    caption: str
    wide: bool


@dataclass
class Grid:
    """A table: rows of cells as text, the first `heads` repeated on each page, the last `feet` in bold."""

    rows: list[list[str]] = field(default_factory=list)
    right: set[int] = field(default_factory=set)
    heads: int = 0
    feet: int = 0


Block = Words | Drawing | Grid


def report(page: str, pictures: Mapping[str, Picture], at: str) -> bytes:
    """report.pdf of a page, dated `at` (a text in UTC); the same page gives the same bytes."""
    from reportlab import rl_config
    from reportlab.pdfgen.canvas import Canvas
    from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate

    # bytes as bytes, not as letters: smaller, and made in half the time
    rl_config.useA85 = 0
    blocks = read(page)
    printed = {picture.uri: picture.printed for picture in pictures.values()}
    title = next((block.text for block in blocks if isinstance(block, Words) and block.kind == "h1"), "")
    foot = next((block.text for block in reversed(blocks) if isinstance(block, Words)), "")
    stream = io.BytesIO()
    document = BaseDocTemplate(
        stream,
        pagesize=(WIDTH, HEIGHT),
        title=title,
        author="attrition",
        subject=foot,
        lang="en",
        invariant=1,
    )
    frame = Frame(MARGIN, MARGIN, INSIDE, HEIGHT - 2 * MARGIN, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate("page", frame, onPage=lambda canvas, _: _dated(canvas, at)))
    document.build(list(_flow(blocks, printed)), canvasmaker=_numbered(Canvas, foot))
    return stream.getvalue()


def _dated(canvas: "Canvas", at: str) -> None:
    date = f"D:{at[:19].translate(str.maketrans('', '', '-:T'))}Z"
    canvas.setDateFormatter(lambda *_: date)


def _numbered(canvas: type, foot: str) -> type:
    """A canvas that knows, as it is closed, how many pages there are, and writes it on each."""

    class Numbered(canvas):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.pages: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self.pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, page in enumerate(self.pages, start=1):
                self.__dict__.update(page)
                self.setFont(PLAIN, 7)
                self.setFillColor(_colour(MUTED))
                self.drawString(MARGIN, MARGIN / 2, _lines(foot, PLAIN, 7, INSIDE - 60)[0])
                self.drawRightString(WIDTH - MARGIN, MARGIN / 2, f"Page {number} of {len(self.pages)}")
                super().showPage()
            super().save()

    return Numbered


def read(page: str) -> list[Block]:
    """The blocks of a page, in its order."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.blocks


class _Reader(HTMLParser):
    """Collects what attrition/templates/report.html is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[Block] = []
        self.open: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.grid: Grid | None = None
        self.picture: dict[str, str] | None = None
        self.term = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        kind = given.get("class", "")
        if tag == "img":
            self.picture = given
        elif tag == "br":
            self.text.append("\n")
        if tag in VOID:
            return
        self.open.append((tag, kind))
        if self.grid is not None:
            self._open_in_table(tag, kind)
        elif tag == "table" or tag == "dl":
            self.grid = Grid()
        elif tag == "li":
            self.text = ["• "]
        elif tag in ("p", "h1", "h2", "h3", "h4", "summary", "figcaption"):
            self.text = []

    def _open_in_table(self, tag: str, kind: str) -> None:
        assert self.grid is not None
        if tag == "tr":
            self.grid.rows.append([])
        elif tag in ("td", "th", "dt"):
            self.text = []
            if "num" in kind.split():
                self.grid.right.add(len(self.grid.rows[-1]))
        elif tag == "dd":
            self.text.append("\n" if self.text else "")
        elif tag in ("li", "p") or (tag == "span" and "note" in kind.split()):
            self.text.append("\n• " if tag == "li" else "\n")

    def handle_endtag(self, tag: str) -> None:
        _, kind = self.open.pop()
        if tag == "bdi" and writing.is_right_to_left("".join(self.text)):
            # the figures after a name are not the name's
            self.text.append(writing.LEFT)
        if self.grid is not None:
            self._close_in_table(tag)
        elif tag in ("h1", "h2", "h3", "h4"):
            self._add(Words(tag, self._taken()))
        elif tag == "summary":
            self._add(Words("h4", self._taken()))
        elif tag == "figcaption" and self.picture is not None:
            wide = any("wide" in kind.split() for tag, kind in self.open if tag == "figure")
            self._add(Drawing(self.picture["src"], self.picture["alt"], self._taken(), wide))
        elif tag in ("p", "li"):
            names = kind.split()
            style = next((name for name in ("callout", "note") if name in names), "p")
            self._add(Words("note" if "kicker" in names else style, self._taken()))

    def _close_in_table(self, tag: str) -> None:
        assert self.grid is not None
        if tag in ("td", "th"):
            self.grid.rows[-1].append(self._taken())
        elif tag == "dt":
            self.term = self._taken()
        elif tag == "div" and self.term:
            self.grid.rows.append([self.term, self._taken()])
            self.term = ""
        elif tag == "thead":
            self.grid.heads = len(self.grid.rows)
        elif tag == "tfoot":
            self.grid.feet = 1
        elif tag in ("table", "dl"):
            self._add(self.grid)
            self.grid = None

    def handle_data(self, data: str) -> None:
        if not any(tag in SKIPPED or HIDDEN & set(kind.split()) for tag, kind in self.open):
            # only a break of the page's own is one: what is in the text is a blank
            self.text.append(data.replace("\n", " "))

    def _taken(self) -> str:
        lines = (" ".join(line.split()).rstrip(writing.LEFT) for line in "".join(self.text).split("\n"))
        self.text = []
        return "\n".join(line for line in lines if line and line != "•")

    def _add(self, block: Block) -> None:
        if not isinstance(block, Words) or block.text:
            self.blocks.append(block)


def _flow(blocks: Sequence[Block], printed: Mapping[str, bytes]) -> "Iterator[Flowable]":
    from reportlab.platypus import CondPageBreak

    waiting: list[Drawing] = []
    for block in blocks:
        if isinstance(block, Drawing):
            waiting.append(block)
            continue
        yield from _plots(waiting, printed)
        waiting = []
        if isinstance(block, Grid):
            yield _table(block)
        else:
            if block.kind in TOGETHER:
                yield CondPageBreak(TOGETHER[block.kind])
            yield _paragraph(block)
    yield from _plots(waiting, printed)
    if missing := _without_sign([text for block in blocks for text in _texts(block)]):
        yield _paragraph(Words("note", missing))


def _texts(block: Block) -> Iterator[str]:
    if isinstance(block, Grid):
        yield from (cell for row in block.rows for cell in row)
    else:
        yield block.text if isinstance(block, Words) else f"{block.caption} {block.alt}"


def _without_sign(texts: Sequence[str]) -> str:
    """What to say of the signs that the font does not have; "" where it has all."""
    known = _signs(PLAIN)
    used = dict.fromkeys(sign for text in texts if not text.isascii() for sign in writing.plain(text))
    missing = [sign for sign in used if ord(sign) not in known]
    if not missing:
        return ""
    named = ", ".join(f"U+{ord(sign):04X}" for sign in missing[:MOST_NAMED])
    more = f" and {len(missing) - MOST_NAMED:,} more" if len(missing) > MOST_NAMED else ""
    return (
        f"The font of this file has no sign for {named}{more}: each is drawn as a box. "
        "report.html shows them, where the reader's machine can."
    )


def _paragraph(words: Words) -> "Flowable":
    from reportlab.platypus import Flowable

    size, font, colour, above = STYLES[words.kind]
    leading = size * LEADING

    class Paragraph(Flowable):
        """Lines of one style; a heading is a bookmark too."""

        def __init__(self, lines: Sequence[str]) -> None:
            super().__init__()
            self.lines = lines

        def getSpaceBefore(self) -> float:
            return above

        def wrap(self, width: float, height: float) -> tuple[float, float]:
            return width, len(self.lines) * leading

        def split(self, width: float, height: float) -> list[Any]:
            fits = int(height / leading)
            return [Paragraph(self.lines[:fits]), Paragraph(self.lines[fits:])] if fits else []

        def draw(self) -> None:
            canvas = self.canv
            canvas.setFont(font, size)
            canvas.setFillColor(_colour(colour))
            for number, line in enumerate(self.lines, start=1):
                canvas.drawString(0, (len(self.lines) - number) * leading + 0.3 * size, line)
            if words.kind in ("h2", "h3"):
                # two headings can have the same words: the place tells them apart
                key = f"{canvas.getPageNumber()} {canvas.absolutePosition(0, 0)[1]:.2f} {words.text}"
                canvas.bookmarkPage(key)
                canvas.addOutlineEntry(words.text, key, int(words.kind[1]) - 2, closed=True)

    return Paragraph(_lines(words.text, font, size, INSIDE))


def _plots(drawings: Sequence[Drawing], printed: Mapping[str, bytes]) -> "Iterator[Flowable]":
    """Narrow plots in pairs, wide ones across; each with its caption and its figures in words below."""
    from reportlab.platypus import Table

    narrow = [each for each in drawings if not each.wide]
    rows = [narrow[at : at + 2] for at in range(0, len(narrow), 2)] + [
        [each] for each in drawings if each.wide
    ]
    for row in rows:
        room, columns = (INSIDE, [INSIDE]) if row[0].wide else (PLOT_WIDTH, [INSIDE / 2] * 2)
        images = [_image(_Png.of(printed[each.source]), room) for each in row]
        told = [_wrapped(f"{each.caption}\n{each.alt}", PLAIN, 6.5, room - 8) for each in row]
        blank = [""] * (len(columns) - len(row))
        yield Table(
            [[*images, *blank], [*told, *blank]],
            colWidths=columns,
            hAlign="LEFT",
            spaceBefore=6,
            style=[
                ("FONT", (0, 0), (-1, -1), PLAIN, 6.5, 6.5 * LEADING),
                ("TEXTCOLOR", (0, 0), (-1, -1), _colour(MUTED)),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("NOSPLIT", (0, 0), (-1, -1)),
            ],
        )


@dataclass(frozen=True)
class _Png:
    """Width and height in pixels, and the compressed rows, as a PDF takes them (ISO 32000-1, 7.4.4.4)."""

    width: int
    height: int
    rows: bytes

    @classmethod
    def of(cls, data: bytes) -> "_Png":
        """ValueError where it is no PNG of three colours of 8 bits each."""
        chunks = dict.fromkeys((b"IHDR", b"IDAT"), b"")
        at = len(SIGNATURE)
        while at < len(data):
            length, kind = struct.unpack_from(">I4s", data, at)
            if kind in chunks:
                chunks[kind] += data[at + 8 : at + 8 + length]
            at += length + 12
        width, height, *form = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
        if form != RGB:
            raise ValueError(f"a PNG of the form {form}, not {RGB}")
        return cls(width, height, chunks[b"IDAT"])


def _image(png: _Png, room: float) -> "Flowable":
    """A picture as wide and high as there is room for it."""
    from reportlab.pdfbase.pdfdoc import PDFDictionary, PDFName, PDFStream
    from reportlab.platypus import Flowable

    scale = min(room / png.width, PLOT_HEIGHT / png.height)
    rows = {"Predictor": 15, "Colors": 3, "Columns": png.width}
    facts = {
        "Type": PDFName("XObject"),
        "Subtype": PDFName("Image"),
        "Width": png.width,
        "Height": png.height,
        "BitsPerComponent": 8,
        "ColorSpace": PDFName("DeviceRGB"),
        "Filter": PDFName("FlateDecode"),
        "DecodeParms": PDFDictionary(rows),
    }

    class Drawn(Flowable):
        def wrap(self, width: float, height: float) -> tuple[float, float]:
            return scale * png.width, scale * png.height

        def draw(self) -> None:
            canvas, name = self.canv, hashlib.sha256(png.rows).hexdigest()
            if not canvas.hasForm(name):
                stream = PDFStream(PDFDictionary(facts), png.rows)
                canvas._doc.Reference(stream, canvas._doc.getXObjectName(name))
                canvas._doc.addForm(name, stream)
            canvas._currentPageHasImages = 1
            canvas.saveState()
            canvas.scale(scale * png.width, scale * png.height)
            canvas.doForm(name)
            canvas.restoreState()

    return Drawn()


def _table(grid: Grid) -> "Table":
    from reportlab.platypus import Table

    columns = max(len(row) for row in grid.rows)
    rows = [[*row, *[""] * (columns - len(row))] for row in grid.rows]
    first_bold = grid.heads == 0
    fonts = [
        [BOLD if at < grid.heads or at >= len(rows) - grid.feet else PLAIN] * columns
        for at in range(len(rows))
    ]
    widths = _widths(grid, rows, fonts)
    cells = [
        [
            _wrapped(cell, font, CELL, width - 2 * PAD)
            for cell, font, width in zip(row, of, widths, strict=True)
        ]
        for row, of in zip(rows, fonts, strict=True)
    ]
    last_head, first_foot = grid.heads - 1, len(rows) - grid.feet
    style: list[tuple[Any, ...]] = [
        ("FONT", (0, 0), (-1, -1), PLAIN, CELL, CELL * LEADING),
        ("TEXTCOLOR", (0, 0), (-1, -1), _colour(INK)),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), PAD),
        ("RIGHTPADDING", (0, 0), (-1, -1), PAD),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ("LINEBELOW", (0, 0), (-1, -1), 0.5, _colour(LINE)),
        *(("ALIGN", (at, 0), (at, -1), "RIGHT") for at in sorted(grid.right)),
    ]
    if grid.heads:
        style += [("FONT", (0, 0), (-1, last_head), BOLD, CELL, CELL * LEADING)]
        style += [("BACKGROUND", (0, 0), (-1, last_head), _colour(SOFT))]
    elif first_bold:
        style += [("TEXTCOLOR", (0, 0), (0, -1), _colour(MUTED))]
    if grid.feet:
        style += [("FONT", (0, first_foot), (-1, -1), BOLD, CELL, CELL * LEADING)]
    return Table(cells, colWidths=widths, repeatRows=grid.heads, hAlign="LEFT", spaceBefore=5, style=style)


def _widths(grid: Grid, rows: Sequence[Sequence[str]], fonts: Sequence[Sequence[str]]) -> list[float]:
    """The width of each column: what it asks for; where that is too much, all beyond its words shrinks."""
    asked, least = zip(*(_asked(grid, at, rows, fonts) for at in range(len(rows[0]))), strict=True)
    pads = 2 * PAD + 0.5
    room = INSIDE - pads * len(asked)
    if sum(asked) <= room:
        return [width + pads for width in asked]
    if sum(least) >= room:
        return [width * room / sum(least) + pads for width in least]
    share = (room - sum(least)) / (sum(asked) - sum(least))
    return [low + share * (high - low) + pads for low, high in zip(least, asked, strict=True)]


def _asked(
    grid: Grid, at: int, rows: Sequence[Sequence[str]], fonts: Sequence[Sequence[str]]
) -> tuple[float, float]:
    """The width of a column without any break, and the least: its longest word, its longest figure."""
    asked = least = 1.0
    for number, (row, of) in enumerate(zip(rows, fonts, strict=True)):
        words = max((_width(word, of[at], CELL) for word in row[at].split()), default=0.0)
        whole = max((_width(line, of[at], CELL) for line in row[at].split("\n")), default=0.0)
        if number < grid.heads:
            whole = words
        elif at in grid.right:
            words = whole
        asked, least = max(asked, whole), max(least, min(words, INSIDE / 4))
    return asked, least


def _wrapped(text: str, font: str, size: float, width: float) -> str:
    lines = [line for part in text.split("\n") for line in _lines(part, font, size, width)]
    return "\n".join(lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], "…"])


def _lines(text: str, font: str, size: float, width: float) -> list[str]:
    """A text as lines of at most this width, each in the order in which it is drawn."""
    parts = (writing.joined(writing.plain(part), _signs(font)) for part in text.split(writing.LEFT))
    whole = writing.LEFT.join(parts)
    from_right = writing.LEFT not in whole and writing.begins_right(whole)
    lines, line, used = [], "", 0.0
    blank = _width(" ", font, size)
    for word in whole.split(" "):
        wide = _width(word, font, size)
        if line and used + blank + wide <= width:
            line, used = f"{line} {word}", used + blank + wide
            continue
        if line:
            lines.append(line)
        *full, line = _broken(word, font, size, width) if wide > width else [word]
        lines += full
        used = _width(line, font, size)
    return [writing.visual(each, from_right).replace(writing.LEFT, "") for each in (*lines, line)]


def _broken(word: str, font: str, size: float, width: float) -> list[str]:
    """A word too long for a line, cut into pieces that are not."""
    pieces, used = [""], 0.0
    for sign in word:
        wide = _width(sign, font, size)
        if pieces[-1] and used + wide > width:
            pieces.append("")
            used = 0.0
        pieces[-1] += sign
        used += wide
    return pieces


def _width(text: str, font: str, size: float) -> float:
    return float(_units(text, font) * size / 1000)


# a report has few different words, and each is measured for its column and for its line
@lru_cache(maxsize=10_000)
def _units(text: str, font: str) -> float:
    """How wide a text is, in thousandths of its size."""
    face = _font(font).face
    widths, usual = face.charWidths, face.defaultWidth
    return float(sum(widths.get(ord(sign), usual) for sign in text if sign != writing.LEFT))


@cache
def _colour(text: str) -> "Color":
    """Read once: a table asks for the colours of each of its cells."""
    from reportlab.lib.colors import HexColor

    return HexColor(text)


@cache
def _signs(name: str) -> frozenset[int]:
    return frozenset(_font(name).face.charToGlyph)


@cache
def _font(name: str) -> "TTFont":
    """A font that matplotlib brings: Latin, Greek, Cyrillic, Hebrew, Arabic, some emoji."""
    import matplotlib
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    class Copied(TTFont):
        """A font of which the signs, when copied, are the letters that were written."""

        def addObjects(self, document: Any) -> None:
            super().addObjects(document)
            for key, stream in document.idToObject.items():
                if key.startswith("toUnicodeCMap:"):
                    stream.content = SIGN.sub(_letters, stream.content)

    font = Copied(name, Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", shapable=False)
    pdfmetrics.registerFont(font)
    return font


def _letters(sign: re.Match[str]) -> str:
    """A line of the font's table of letters: joined letters one by one, any sign as UTF-16."""
    written = writing.unjoined(chr(int(sign[2], 16)))
    return f"<{sign[1]}> <{written.encode('utf-16-be').hex().upper()}>"
