"""The contract over whole columns, in SQL: the verdicts and values of Contract.judge, for millions of rows.

Ingestion judges this way; `judge` then says why a row is rejected. A test holds the two to each other.
"""

from collections.abc import Mapping, Sequence

from attrition.contract import NUMBER, WHITE, Contract

# how rows are written for a table: no header, blank where missing
CSV = "FORMAT csv, HEADER false, QUOTE '\"', ESCAPE '\"'"
WHITE_SQL = " || ".join(f"chr({ord(mark)})" for mark in WHITE)


def select(contract: Contract, cells: Mapping[str, str], raw: Sequence[str], tidy: bool, source: str) -> str:
    """SQL that types and judges rows of text.

    `cells` are the SQL names of the contract's columns in `source` (NULL is blank), `raw` the names of all
    cells of a row as it was. `tidy` says that no text begins or ends with white space other than blanks.

    The result has v0, v1, ... (the contract's columns, DOUBLE or VARCHAR, NULL missing), `ok`, `h` (a hash of
    the values) and, where not ok, `raw`.
    """
    columns = contract.clients.columns
    numbers = [column for column in columns if column in contract.clients.numbers]
    typed = [
        f"{_number(cell) if column in numbers else _text(cell, tidy)} AS {name(contract, column)}"
        for column, cell in ((column, cells[column]) for column in columns)
    ]
    values = ", ".join(name(contract, column) for column in columns)
    kept = ", ".join(dict.fromkeys([*cells.values(), *raw]))
    return f"""
        SELECT {values}, ok, hash({values}) AS h, CASE WHEN NOT ok THEN [{", ".join(raw)}] END AS raw
        FROM (SELECT *, {_accepted(contract, cells, numbers)} AS ok
              FROM (SELECT {kept}, {", ".join(typed)} FROM {source}))
    """


def name(contract: Contract, column: str) -> str:
    """SQL name of a column's value: names of people's columns may differ in case alone, which SQL ignores."""
    return f"v{contract.clients.columns.index(column)}"


def written(contract: Contract) -> str:
    """SQL of all values as finaldata.csv has them: numbers as attrition.tables writes them."""
    clients = contract.clients
    return ", ".join(
        _shortest(name(contract, column)) if column in clients.numbers else name(contract, column)
        for column in clients.columns
    )


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


def _number(cell: str) -> str:
    """The cast decides most cells; it would let `1_000`, `nan` and `inf` through, no numbers here."""
    tidied = f"trim({cell}, {WHITE_SQL})"
    # + 0 makes a negative zero a plain one
    return (
        f"CASE WHEN isfinite(try_cast({cell} AS DOUBLE)) AND NOT contains({cell}, '_') "
        f"THEN try_cast({cell} AS DOUBLE) + 0 "
        f"WHEN regexp_full_match({tidied}, {literal(NUMBER.pattern)}) "
        f"THEN try_cast({tidied} AS DOUBLE) + 0 END"
    )


def _text(cell: str, tidy: bool) -> str:
    tidied = f"trim({cell}, {WHITE_SQL})"
    if tidy:
        tidied = f"CASE WHEN starts_with({cell}, ' ') OR ends_with({cell}, ' ') THEN {tidied} ELSE {cell} END"
    return f"nullif({tidied}, '')"


def _shortest(value: str) -> str:
    return (
        f"CASE WHEN {value} = trunc({value}) AND abs({value}) < 1e15 "
        f"THEN cast(cast({value} AS BIGINT) AS VARCHAR) ELSE cast({value} AS VARCHAR) END"
    )
