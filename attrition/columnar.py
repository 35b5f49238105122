"""The contract over whole columns, in SQL: the verdicts and values of Contract.judge, for millions of rows.

Ingestion judges this way; `judge` then says why a row is rejected. A test holds the two to each other.
Numbers are written here, once for each row, so that a table is made of lines that only need to be copied.
"""

from collections.abc import Mapping, Sequence

from attrition import sources
from attrition.contract import NUMBER, WHITE, Contract

# rows are written as they are: their cells were quoted where they must be
CSV = "FORMAT csv, QUOTE ''"
# between the cells of a row as it was: no dataset holds it
BETWEEN = "\0"
QUOTED = ',"#\r\n'
WHITE_SQL = " || ".join(f"chr({ord(mark)})" for mark in WHITE)


def select(
    contract: Contract, cells: Mapping[str, str], raw: Sequence[str], marks: frozenset[str], source: str
) -> str:
    """SQL that types and judges rows of text, and says how each is written.

    `cells` are the SQL names of the contract's columns in `source` (NULL is blank), `raw` the names of all
    cells of a row as it was; `marks` are the survey's.

    The result has `ok`, `h` (32 bits of a hash of the values) and `line`: where ok the contract's columns as
    a line of finaldata.csv, equal for equal values alone; where not ok the cells as they were, BETWEEN them a
    NUL.
    """
    columns = contract.clients.columns
    numbers = [column for column in columns if column in contract.clients.numbers]
    typed = [
        f"{_number(cell, marks) if column in numbers else _text(cell, marks)} AS {name(contract, column)}"
        for column, cell in ((column, cells[column]) for column in columns)
    ]
    values = ", ".join(name(contract, column) for column in columns)
    kept = ", ".join(dict.fromkeys([*cells.values(), *raw]))
    line, as_it_was = _line(contract, marks), ", chr(0), ".join(raw)
    return f"""
        SELECT CASE WHEN ok THEN {line} ELSE concat({as_it_was}) END AS line, ok,
            (hash({values}) >> 32)::UINTEGER AS h
        FROM (SELECT *, {_accepted(contract, cells, numbers)} AS ok
              FROM (SELECT {kept}, {", ".join(typed)} FROM {source}))
    """


def name(contract: Contract, column: str) -> str:
    """SQL name of a column's value: names of people's columns may differ in case alone, which SQL ignores."""
    return f"v{contract.clients.columns.index(column)}"


def quoted(text: str) -> str:
    """Text as a cell of finaldata.csv."""
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in QUOTED) else text


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _accepted(contract: Contract, cells: Mapping[str, str], numbers: Sequence[str]) -> str:
    """A boolean, never NULL."""
    clients = contract.clients
    outcomes = ", ".join(literal(value) for value in (clients.left, clients.stayed))
    conditions = [
        f"{name(contract, clients.id)} IS NOT NULL",
        f"coalesce({name(contract, clients.target)} IN ({outcomes}), true)",
    ]
    conditions += [f"{name(contract, column)} IS NOT NULL" for column in clients.required]
    for column, values in clients.categories.items():
        allowed = ", ".join(literal(value) for value in values) or "NULL"
        conditions.append(
            f"coalesce({name(contract, column)} IN ({allowed}), {name(contract, column)} IS NULL)"
        )
    for column in numbers:
        value, (low, high) = name(contract, column), contract.limits(column)
        blank = f"coalesce(trim({cells[column]}, {WHITE_SQL}), '') = ''"
        within = f"{value} BETWEEN {low!r}::DOUBLE AND {high!r}::DOUBLE"
        conditions.append(f"CASE WHEN {value} IS NULL THEN {blank} ELSE {within} END")
    names = {column: name(contract, column) for column in numbers}
    names |= {column: f"({formula.sql(names)})" for column, formula in contract.derived.items()}
    conditions += [
        f"NOT {rule.broken_sql(names)}" for rule, severity in contract.rules if severity == "reject"
    ]
    return " AND ".join(f"({condition})" for condition in conditions)


def _line(contract: Contract, marks: frozenset[str]) -> str:
    """SQL of all values as finaldata.csv has them: numbers as attrition.tables writes them."""
    numbers = contract.clients.numbers
    values = [(name(contract, column), column in numbers) for column in contract.clients.columns]
    cells = [_shortest(value) if number else _quoted(value, marks) for value, number in values]
    return "concat(" + ", ',', ".join(cells) + ")"


def _number(cell: str, marks: frozenset[str]) -> str:
    """The cast decides most cells; it would let `1_000`, `nan` and `inf` through, no numbers here."""
    no_mark = f" AND NOT contains({cell}, '_')" if sources.UNDERSCORE in marks else ""
    tidied = f"trim({cell}, {WHITE_SQL})"
    # + 0 makes a negative zero a plain one
    return (
        f"CASE WHEN isfinite(try_cast({cell} AS DOUBLE)){no_mark} "
        f"THEN try_cast({cell} AS DOUBLE) + 0 "
        f"WHEN regexp_full_match({tidied}, {literal(NUMBER.pattern)}) "
        f"THEN try_cast({tidied} AS DOUBLE) + 0 END"
    )


def _text(cell: str, marks: frozenset[str]) -> str:
    tidied = f"nullif(trim({cell}, {WHITE_SQL}), '')"
    if sources.WHITE_SPACE in marks:
        return tidied
    # a blank comes before `!`
    return f"CASE WHEN {cell} < '!' OR ends_with({cell}, ' ') THEN {tidied} ELSE {cell} END"


def _quoted(value: str, marks: frozenset[str]) -> str:
    if not marks & {sources.QUOTE, sources.WHITE_SPACE, sources.HASH}:
        return value
    # five searches for a byte take less time than one regular expression
    needed = " OR ".join(f"contains({value}, chr({ord(mark)}))" for mark in QUOTED)
    quoted = f"concat('\"', replace({value}, '\"', '\"\"'), '\"')"
    return f"CASE WHEN {needed} THEN {quoted} ELSE {value} END"


def _shortest(value: str) -> str:
    return (
        f"CASE WHEN {value} = trunc({value}) AND abs({value}) < 1e15 "
        f"THEN cast(cast({value} AS BIGINT) AS VARCHAR) ELSE cast({value} AS VARCHAR) END"
    )
