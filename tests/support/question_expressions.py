"""Expressions of generated questions, each of a type, over the columns in reach."""

from abc import ABC, abstractmethod
from random import Random

from support.question_tree import (
    BOOL,
    CONSTANTS,
    DATE,
    DECIMAL,
    TEXT,
    TIMESTAMP,
    VALUE_TYPES,
    WHOLE,
    Node,
    Scope,
)


class Expressions(ABC):
    """Makes expressions; a subclass makes the tables that their subqueries read."""

    def __init__(self, seed: str) -> None:
        """Begin with a seed; the same one makes the same question."""
        self.random = Random(seed)
        self.aliases = 0
        self.outer: list[Scope] = []

    def alias(self, letter: str) -> str:
        """Return a new name."""
        self.aliases += 1
        return f"{letter}{self.aliases}"

    def chance(self, share: float) -> bool:
        """Return true as often as the share says."""
        return self.random.random() < share

    @abstractmethod
    def table(self) -> tuple[Node, Scope]:
        """Return a table under a new name."""

    def expression(self, kind: str, scope: Scope, depth: int) -> Node:
        """Return an expression of a type."""
        if depth <= 0 or self.chance(0.25):
            return self.leaf(kind, scope)
        if self.chance(0.15):
            return self.general(kind, scope, depth - 1)
        return getattr(self, f"{kind}_expression")(scope, depth - 1)

    def leaf(self, kind: str, scope: Scope) -> Node:
        """Return a column or a constant."""
        columns = scope.of(kind)
        if columns and self.chance(0.8):
            return Node(kind, [self.random.choice(columns)])
        return Node(kind, [self.random.choice(CONSTANTS[kind])])

    def general(self, kind: str, scope: Scope, depth: int) -> Node:
        """Return what exists for every type."""
        one, two = self.expression(kind, scope, depth), self.expression(kind, scope, depth)
        match self.random.randrange(4):
            case 0:
                return Node(kind, ["COALESCE(", one, ", ", two, ")"])
            case 1:
                return Node(kind, ["NULLIF(", one, ", ", two, ")"])
            case 2:
                condition = self.expression(BOOL, scope, depth)
                last = Node("else", [" ELSE ", two], is_optional=True)
                return Node(kind, ["CASE WHEN ", condition, " THEN ", one, last, " END"])
            case _:
                value = self.expression(WHOLE, scope, 0)
                return Node(kind, ["CASE ", value, " WHEN 7 THEN ", one, " WHEN 3 THEN ", two, " END"])

    def whole_expression(self, scope: Scope, depth: int) -> Node:
        """Return a whole number."""
        number = self.expression(WHOLE, scope, depth)
        match self.random.randrange(9):
            case 0 | 1:
                # Small operands: products of products would not fit.
                other = self.leaf(WHOLE, Scope()) if self.chance(0.5) else self.leaf(WHOLE, scope)
                return Node(
                    WHOLE,
                    ["(", self.leaf(WHOLE, scope), self.random.choice((" + ", " - ", " * ")), other, ")"],
                )
            case 2:
                return Node(
                    WHOLE,
                    [
                        "(",
                        number,
                        self.random.choice((" % ", " / ")),
                        self.random.choice(("7", "-3", "2")),
                        ")",
                    ],
                )
            case 3:
                return Node(WHOLE, ["ABS(", number, ")"])
            case 4:
                return (
                    Node(
                        WHOLE,
                        [
                            self.random.choice(("LENGTH(", "STRPOS(NULL::varchar || ")),
                            self.expression(TEXT, scope, depth),
                            ")",
                        ],
                    )
                    if self.chance(0.8)
                    else Node(
                        WHOLE,
                        ["STRPOS(", self.expression(TEXT, scope, depth), ", ", self.leaf(TEXT, scope), ")"],
                    )
                )
            case 5:
                part = self.random.choice(("year", "month", "day", "quarter", "dow", "doy", "week"))
                return Node(
                    WHOLE,
                    [
                        f"CAST(EXTRACT({part} FROM ",
                        self.expression(self.random.choice((DATE, TIMESTAMP)), scope, depth),
                        ") AS BIGINT)",
                    ],
                )
            case 6:
                return Node(WHOLE, ["(- ", number, ")"])
            case 7:
                return Node(WHOLE, ["GREATEST(", number, ", ", self.leaf(WHOLE, scope), ")"])
            case _:
                return Node(WHOLE, ["CAST(FLOOR(", self.expression(DECIMAL, scope, depth), ") AS BIGINT)"])

    def decimal_expression(self, scope: Scope, depth: int) -> Node:
        """Return an exact number."""
        number = self.expression(DECIMAL, scope, depth)
        match self.random.randrange(6):
            case 0 | 1:
                other = self.leaf(DECIMAL, scope)
                return Node(
                    DECIMAL, ["(", self.leaf(DECIMAL, scope), self.random.choice((" + ", " - ")), other, ")"]
                )
            case 2:
                return Node(
                    DECIMAL,
                    ["(", self.leaf(DECIMAL, scope), " * ", self.random.choice(("1.21", "-2", "0.005")), ")"],
                )
            case 3:
                return Node(DECIMAL, [self.random.choice(("ABS(", "(- ", "CEIL(", "FLOOR(")), number, ")"])
            case 4:
                return Node(DECIMAL, ["CAST(", self.expression(WHOLE, scope, depth), " AS DECIMAL(20, 2))"])
            case _:
                return Node(DECIMAL, ["ROUND(", number, ", ", self.random.choice(("0", "1", "2")), ")"])

    def text_expression(self, scope: Scope, depth: int) -> Node:
        """Return a text."""
        text = self.expression(TEXT, scope, depth)
        small = self.random.choice(("0", "1", "2", "3", "-1", "-2"))
        match self.random.randrange(12):
            case 0:
                return Node(
                    TEXT,
                    [
                        self.random.choice(("UPPER(", "LOWER(", "TRIM(", "LTRIM(", "RTRIM(", "REVERSE(")),
                        text,
                        ")",
                    ],
                )
            case 1:
                return Node(TEXT, ["(", text, " || ", self.leaf(TEXT, scope), ")"])
            case 2:
                return Node(
                    TEXT, ["SUBSTRING(", text, f" FROM {abs(int(small)) + 1} FOR {self.random.randrange(4)})"]
                )
            case 3:
                return Node(TEXT, [self.random.choice(("LEFT(", "RIGHT(")), text, f", {small})"])
            case 4:
                return Node(
                    TEXT,
                    [
                        "REPLACE(",
                        text,
                        ", ",
                        self.random.choice(("'E'", "'ö'", "' '")),
                        ", ",
                        self.random.choice(("''", "'xx'")),
                        ")",
                    ],
                )
            case 5:
                return Node(
                    TEXT,
                    [
                        "CAST(",
                        self.expression(self.random.choice((WHOLE, DATE)), scope, depth),
                        " AS VARCHAR)",
                    ],
                )
            case 6:
                return Node(TEXT, ["CONCAT(", text, ", '-', ", self.leaf(TEXT, scope), ")"])
            case 7:
                return Node(
                    TEXT,
                    [self.random.choice(("LPAD(", "RPAD(")), text, f", {self.random.randrange(6)}, 'xy')"],
                )
            case 8:
                return Node(
                    TEXT,
                    [
                        "SPLIT_PART(",
                        text,
                        ", ",
                        self.random.choice(("'e'", "' '", "'_'")),
                        ", ",
                        self.random.choice(("1", "2", "-1")),
                        ")",
                    ],
                )
            case 9:
                return Node(
                    TEXT,
                    [
                        "REGEXP_REPLACE(",
                        text,
                        ", ",
                        self.random.choice(("'[a-z]+'", "'^.'", "'\\d'")),
                        ", '#'",
                        self.random.choice(("", ", 'g'")),
                        ")",
                    ],
                )
            case 10:
                return Node(TEXT, ["CONCAT_WS('/', ", text, ", ", self.leaf(TEXT, scope), ")"])
            case _:
                return Node(
                    TEXT,
                    [self.random.choice(("GREATEST(", "LEAST(")), text, ", ", self.leaf(TEXT, scope), ")"],
                )

    def interval(self) -> str:
        """Return an interval."""
        unit = self.random.choice(("day", "month", "year", "week"))
        return f"INTERVAL '{self.random.choice((1, 3, 13))} {unit}'"

    def date_expression(self, scope: Scope, depth: int) -> Node:
        """Return a date."""
        day = self.expression(DATE, scope, depth)
        match self.random.randrange(4):
            case 0:
                unit = self.random.choice(("month", "year", "quarter", "week"))
                return Node(DATE, [f"CAST(DATE_TRUNC('{unit}', ", day, ") AS DATE)"])
            case 1:
                return Node(DATE, ["CAST(", self.expression(TIMESTAMP, scope, depth), " AS DATE)"])
            case 2:
                return Node(
                    DATE, ["CAST(", day, self.random.choice((" + ", " - ")), self.interval(), " AS DATE)"]
                )
            case _:
                return Node(
                    DATE,
                    [self.random.choice(("GREATEST(", "LEAST(")), day, ", ", self.leaf(DATE, scope), ")"],
                )

    def timestamp_expression(self, scope: Scope, depth: int) -> Node:
        """Return a time."""
        moment = self.expression(TIMESTAMP, scope, depth)
        match self.random.randrange(3):
            case 0:
                unit = self.random.choice(("month", "hour", "day", "quarter", "minute"))
                return Node(TIMESTAMP, [f"DATE_TRUNC('{unit}', ", moment, ")"])
            case 1:
                return Node(TIMESTAMP, ["CAST(", self.expression(DATE, scope, depth), " AS TIMESTAMP)"])
            case _:
                return Node(
                    TIMESTAMP,
                    [
                        "(",
                        moment,
                        self.random.choice((" + ", " - ")),
                        self.random.choice((self.interval(), "INTERVAL '90 minutes'")),
                        ")",
                    ],
                )

    def bool_expression(self, scope: Scope, depth: int) -> Node:
        """Return a condition."""
        kind = self.random.choice(VALUE_TYPES)
        left, right = self.expression(kind, scope, depth), self.expression(kind, scope, depth)
        inner = self.expression(BOOL, scope, depth)
        choice = self.random.randrange(16)
        match choice:
            case 0 | 1 | 2:
                return Node(
                    BOOL,
                    ["(", left, f" {self.random.choice(('=', '<>', '<', '<=', '>', '>='))} ", right, ")"],
                )
            case 3:
                return Node(BOOL, ["(", left, self.random.choice((" IS NULL", " IS NOT NULL")), ")"])
            case 4:
                return Node(
                    BOOL, ["(", left, f" IS{self.random.choice((' NOT', ''))} DISTINCT FROM ", right, ")"]
                )
            case 5:
                other = self.leaf(kind, scope)
                return Node(
                    BOOL,
                    [
                        "(",
                        left,
                        self.random.choice((" BETWEEN ", " NOT BETWEEN ")),
                        right,
                        " AND ",
                        other,
                        ")",
                    ],
                )
            case 6 | 7:
                values = ", ".join(self.random.sample(CONSTANTS[kind], 3))
                return Node(BOOL, ["(", left, self.random.choice((" IN (", " NOT IN (")), values, "))"])
            case 8:
                return Node(BOOL, ["(NOT ", inner, ")"])
            case 9 | 10:
                other = self.expression(BOOL, scope, depth)
                return Node(BOOL, ["(", inner, self.random.choice((" AND ", " OR ")), other, ")"])
            case 11:
                pattern = self.random.choice(("'%e%'", "'_'", "''", "'A%'", "'_%_'", "'%ö%'"))
                return Node(
                    BOOL,
                    [
                        "(",
                        self.expression(TEXT, scope, depth),
                        self.random.choice((" LIKE ", " NOT LIKE ", " ILIKE ")),
                        pattern,
                        ")",
                    ],
                )
            case 12:
                return Node(
                    BOOL,
                    [
                        "(",
                        inner,
                        self.random.choice((" IS TRUE", " IS NOT TRUE", " IS FALSE", " IS NOT FALSE")),
                        ")",
                    ],
                )
            case _ if len(self.outer) < 2 and scope.columns:
                return self.subquery_condition(kind, left, scope)
            case _:
                return Node(
                    BOOL,
                    ["STARTS_WITH(", self.expression(TEXT, scope, depth), ", ", self.leaf(TEXT, scope), ")"],
                )

    def subquery_condition(self, kind: str, left: Node, scope: Scope) -> Node:
        """Return a condition on another table; it may name columns of the one outside."""
        table, inner = self.table()
        self.outer.append(scope)
        # Both sides of an equality are columns, which is what engines make a join of.
        shared = [t for t in VALUE_TYPES if inner.of(t) and scope.of(t)]
        link = Node("link", [], is_optional=True)
        if shared and self.chance(0.6):
            linked = self.random.choice(shared)
            names = self.random.choice(inner.of(linked)), self.random.choice(scope.of(linked))
            link = Node("link", [f" AND {names[0]} = {names[1]}"], is_optional=True)
        condition = Node("and", [" AND ", self.expression(BOOL, inner, 1)], is_optional=True)
        self.outer.pop()
        where = Node("where", [" WHERE TRUE", link, condition])
        match self.random.randrange(3):
            case 0:
                return Node(
                    BOOL,
                    [
                        "(",
                        self.random.choice(("EXISTS", "NOT EXISTS")),
                        " (SELECT 1 FROM ",
                        table,
                        where,
                        "))",
                    ],
                )
            case 1:
                value = self.leaf(kind, inner)
                return Node(
                    BOOL,
                    [
                        "(",
                        left,
                        self.random.choice((" IN ", " NOT IN ")),
                        "(SELECT ",
                        value,
                        " FROM ",
                        table,
                        where,
                        "))",
                    ],
                )
            case _:
                value = Node(kind, [self.random.choice(("MIN(", "MAX(")), self.leaf(kind, inner), ")"])
                return Node(
                    BOOL,
                    [
                        "(",
                        left,
                        self.random.choice((" < ", " >= ", " = ")),
                        "(SELECT ",
                        value,
                        " FROM ",
                        table,
                        where,
                        "))",
                    ],
                )
