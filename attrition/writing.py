"""Text in the order in which it is drawn, for what can only draw signs from left to right.

Right-to-left runs are turned round and Arabic letters joined, after the rules of Unicode's annex 9 for lines
that begin on the left (explicit marks of direction are left out) and of its chapter 9.2. Touches no disk.
"""

import unicodedata
from functools import cache

RIGHT, NUMBER = ("R", "AL"), ("EN", "AN")
# what belongs to a number within it, and beside it
SEPARATORS, TERMINATORS = ("ES", "CS"), ("ET",)
ISOLATED, FINAL, INITIAL, MEDIAL = "isolated", "final", "initial", "medial"
# they ask for another shape of the sign before them
VARIANTS = {chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))}
MIRRORS = str.maketrans("()[]{}<>«»‹›≤≥", ")(][}{><»«›‹≥≤")
# a sign without a shape: what follows is read from the left, and so is the text that it stands in
LEFT = "\u200e"
LAM, ALEFS, TATWEEL = "\u0644", "\u0622\u0623\u0625\u0627", "\u0640"


def plain(text: str) -> str:
    """Signs that have a shape, on one line: breaks become blanks, marks without a shape are left out."""
    if text.isprintable() and VARIANTS.isdisjoint(text):
        return text
    shown = (" " if unicodedata.category(sign) in ("Cc", "Zl", "Zp") else sign for sign in text)
    return "".join(sign for sign in shown if unicodedata.category(sign) != "Cf" and sign not in VARIANTS)


def is_right_to_left(text: str) -> bool:
    """Whether any sign of a text is drawn from right to left."""
    return not text.isascii() and any(unicodedata.bidirectional(sign) in (*RIGHT, "AN") for sign in set(text))


def joined(text: str, drawn: "frozenset[int] | None" = None) -> str:
    """Arabic letters in the shapes that their neighbours ask for, in the order of reading.

    A shape that is not among `drawn` (code points that a font has) is left as the letter itself.
    """
    if not is_right_to_left(text):
        return text
    shapes, made = _shapes(), []
    letters = [at for at, sign in enumerate(text) if unicodedata.category(sign) != "Mn"]
    skip = -1
    for order, at in enumerate(letters):
        if at == skip:
            continue
        before = text[letters[order - 1]] if order else ""
        if order and letters[order - 1] == skip:
            before = ""
        after = text[letters[order + 1]] if order + 1 < len(letters) else ""
        sign, joins_before = text[at], _joins_on(before) and _joins_back(text[at])
        if sign == LAM and after in ALEFS and after and letters[order + 1] == at + 1:
            skip = at + 1
            made.append((at, skip, shapes[sign + after][FINAL if joins_before else ISOLATED]))
            continue
        joins_after = _joins_on(sign) and bool(after) and _joins_back(after)
        forms = shapes.get(sign, {})
        form = (MEDIAL if joins_after else FINAL) if joins_before else INITIAL if joins_after else ISOLATED
        made.append((at, at, forms.get(form, sign)))
    return _put_together(text, made, drawn)


def unjoined(sign: str) -> str:
    """The letters that a joined shape stands for; any other sign is itself."""
    return unicodedata.normalize("NFKC", sign) if "\ufb50" <= sign <= "\ufefc" else sign


def _put_together(text: str, made: list[tuple[int, int, str]], drawn: "frozenset[int] | None") -> str:
    """The text with the signs from one place to another replaced, where the font has what replaces them."""
    out, at = [], 0
    for first, last, sign in made:
        out.append(text[at:first])
        out.append(sign if drawn is None or ord(sign) in drawn else text[first : last + 1])
        at = last + 1
    return "".join(out) + text[at:]


def _joins_on(sign: str) -> bool:
    """Whether a letter holds out a hand to the one after it."""
    return bool(sign) and (sign == TATWEEL or INITIAL in _shapes().get(sign, {}))


def _joins_back(sign: str) -> bool:
    return sign == TATWEEL or FINAL in _shapes().get(sign, {})


@cache
def _shapes() -> dict[str, dict[str, str]]:
    """Each letter's shapes, and those of lam with an alef, as Unicode has them among compatibility signs."""
    found: dict[str, dict[str, str]] = {}
    for code in (*range(0xFB50, 0xFBB2), *range(0xFE80, 0xFEFD)):
        kind, *letters = unicodedata.decomposition(chr(code)).split()
        letter = "".join(chr(int(part, 16)) for part in letters)
        found.setdefault(letter, {})[kind.strip("<>")] = chr(code)
    return found


def begins_right(text: str) -> bool:
    """Whether the first letter with a direction is one that is drawn from right to left."""
    kinds = (unicodedata.bidirectional(sign) for sign in text)
    return next((kind in RIGHT for kind in kinds if kind in ("L", *RIGHT)), False)


def visual(line: str, from_right: bool = False) -> str:
    """One line of text, in the order in which its signs are drawn from left to right.

    `from_right` where the text that it is a line of begins on the right.
    """
    if not is_right_to_left(line):
        return line
    clusters = _clusters(line)
    levels = _levels([unicodedata.bidirectional(cluster[0]) for cluster in clusters], from_right)
    order = list(range(len(clusters)))
    for level in (2, 1):
        order = _turned(order, levels, level)
    return "".join(_mirror(clusters[at]) if levels[at] == 1 else clusters[at] for at in order)


def _clusters(line: str) -> list[str]:
    """Each sign with the marks that stand on it."""
    clusters: list[str] = []
    for sign in line:
        if clusters and unicodedata.bidirectional(sign) == "NSM":
            clusters[-1] += sign
        else:
            clusters.append(sign)
    return clusters


def _levels(kinds: list[str], from_right: bool) -> list[int]:
    """0 or 2 drawn from the left, 1 from the right; 2 is within what is drawn from the right."""
    sides, last = [], "R" if from_right else "L"
    for kind in _numbers(kinds):
        side = "R" if kind in RIGHT else "L" if kind == "L" else ""
        last = side or last
        # a number is read from the left wherever it stands, and belongs to the words before it
        sides.append(
            "N" if kind == "AN" or (kind == "EN" and last == "R") else last if kind == "EN" else side
        )
    level_of = {"L": 2 if from_right else 0, "R": 1, "N": 2}
    return [level_of[side or _between(sides, at, from_right)] for at, side in enumerate(sides)]


def _between(sides: list[str], at: int, from_right: bool) -> str:
    """The side of a sign without one: that of its neighbours where they agree, else that of the text."""
    base = "R" if from_right else "L"
    before = next((side for side in reversed(sides[:at]) if side), base)
    after = next((side for side in sides[at:] if side), base)
    one, other = ("R" if side == "N" else side for side in (before, after))
    return one if one == other else base


def _numbers(kinds: list[str]) -> list[str]:
    """The same kinds, with what belongs to a number counted to it."""
    kinds = list(kinds)
    for at in range(1, len(kinds) - 1):
        if kinds[at] in SEPARATORS and kinds[at - 1] == kinds[at + 1] and kinds[at - 1] in NUMBER:
            kinds[at] = kinds[at - 1]
    for places in (range(1, len(kinds)), range(len(kinds) - 2, -1, -1)):
        step = -1 if places.step > 0 else 1
        for at in places:
            if kinds[at] in TERMINATORS and kinds[at + step] == "EN":
                kinds[at] = "EN"
    return kinds


def _turned(order: list[int], levels: list[int], least: int) -> list[int]:
    """The order with each run of at least this level turned round."""
    out: list[int] = []
    run: list[int] = []
    for at in order:
        if levels[at] >= least:
            run.append(at)
        else:
            out += [*reversed(run), at]
            run = []
    return [*out, *reversed(run)]


def _mirror(cluster: str) -> str:
    return cluster.translate(MIRRORS)
