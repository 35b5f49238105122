"""Arithmetic over columns, from text: parsed by a whitelist, never evaluated as Python.

    formula("lastmonth_activity / (lastyear_activity + 1)")      a derived column
    comparison("lastmonth_activity <= lastyear_activity")        a rule between columns

Both work on a row, and as SQL on whole tables, alike: a missing operand (NaN, NULL), a division by zero or a
result without bounds gives a missing value.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

LONGEST = 1000
OPERATIONS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
COMPARISONS: dict[type[ast.AST], tuple[Callable[[float, float], bool], str]] = {
    ast.Lt: (operator.lt, "<"),
    ast.LtE: (operator.le, "<="),
    ast.Gt: (operator.gt, ">"),
    ast.GtE: (operator.ge, ">="),
    ast.Eq: (operator.eq, "="),
    ast.NotEq: (operator.ne, "<>"),
}
SIGNS: dict[type[ast.AST], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.USub: "-", ast.UAdd: "+"}


@dataclass(frozen=True)
class Formula:
    text: str
    tree: ast.expr
    columns: frozenset[str]

    def __call__(self, row: Mapping[str, float]) -> float:
        value = _value(self.tree, row)
        return value if math.isfinite(value) else math.nan

    def sql(self, names: Mapping[str, str]) -> str:
        """The same over DOUBLE columns; `names` are their SQL names."""
        value = _sql(self.tree, names)
        return f"CASE WHEN isfinite({value}) THEN {value} END"


@dataclass(frozen=True)
class Comparison:
    text: str
    left: Formula
    right: Formula
    holds: Callable[[float, float], bool]
    sign: str

    @property
    def columns(self) -> frozenset[str]:
        return self.left.columns | self.right.columns

    def broken_by(self, row: Mapping[str, float]) -> bool:
        """Whether the row breaks the rule; one with a missing operand breaks nothing."""
        left, right = self.left(row), self.right(row)
        return not (math.isnan(left) or math.isnan(right) or self.holds(left, right))

    def broken_sql(self, names: Mapping[str, str]) -> str:
        return f"NOT coalesce({self.left.sql(names)} {self.sign} {self.right.sql(names)}, true)"


def formula(text: str) -> Formula:
    """Parse, or raise ValueError with the fault."""
    return _formula(text, _parse(text))


def comparison(text: str) -> Comparison:
    """Parse, or raise ValueError with the fault."""
    tree = _parse(text)
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
        raise ValueError("a rule is one comparison of two sides: <, <=, >, >=, == or !=")
    if type(tree.ops[0]) not in COMPARISONS:
        raise ValueError("a rule compares with <, <=, >, >=, == or !=")
    left, right = _formula(text, tree.left), _formula(text, tree.comparators[0])
    holds, sign = COMPARISONS[type(tree.ops[0])]
    return Comparison(text, left, right, holds, sign)


def _parse(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST} characters")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError("this is not arithmetic over columns") from None


def _formula(text: str, tree: ast.expr) -> Formula:
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name):
                names.add(name)
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                continue
            case ast.BinOp() | ast.UnaryOp() | ast.Load() | ast.Div():
                continue
            case _ if type(node) not in OPERATIONS:
                raise ValueError("only columns, numbers, + - * / and parentheses are allowed")
    return Formula(text, tree, frozenset(names))


def _value(node: ast.expr, row: Mapping[str, float]) -> float:
    match node:
        case ast.Name(id=name):
            return row[name]
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=op, operand=operand):
            return OPERATIONS[type(op)](_value(operand, row))
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            below = _value(right, row)
            return _value(left, row) / below if below else math.nan
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATIONS[type(op)](_value(left, row), _value(right, row))
    raise AssertionError(f"the parser let {ast.dump(node)} through")


def _sql(node: ast.expr, names: Mapping[str, str]) -> str:
    match node:
        case ast.Name(id=name):
            return names[name]
        case ast.Constant(value=int() | float() as number):
            return f"{float(number)!r}::DOUBLE"
        case ast.UnaryOp(op=op, operand=operand):
            return f"({SIGNS[type(op)]} {_sql(operand, names)})"
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return f"({_sql(left, names)} / nullif({_sql(right, names)}, 0))"
        case ast.BinOp(left=left, op=op, right=right):
            return f"({_sql(left, names)} {SIGNS[type(op)]} {_sql(right, names)})"
    raise AssertionError(f"the parser let {ast.dump(node)} through")
