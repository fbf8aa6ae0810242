"""Questions by chance over the tables of the questions' data, in the manner of sqlsmith and SQLancer.

A question is a tree of nodes with types, so it is always well typed, and a smaller one is made by cutting the
tree. Only what has one right answer is asked: LIMIT and frames of rows come with an order that leaves no two
rows equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

WHOLE, DECIMAL, TEXT, DATE, TIMESTAMP, BOOL = "whole", "decimal", "text", "date", "timestamp", "bool"
VALUE_TYPES = (WHOLE, DECIMAL, TEXT, DATE, TIMESTAMP)

# Columns, and which of them tell rows apart.
TABLES: dict[str, tuple[dict[str, str], list[str]]] = {
    "invoices": (
        {
            "invoice_id": WHOLE,
            "issue_date": TIMESTAMP,
            "issuer_id": WHOLE,
            "receiver_id": WHOLE,
            "amount_usd": DECIMAL,
            "issue_date_yearmonth": DATE,
        },
        ["invoice_id"],
    ),
    "invoice_by_business": (
        {
            "business_id": WHOLE,
            "total_amount_issued": DECIMAL,
            "issued_count": WHOLE,
            "min_amount_received": DECIMAL,
            "last_issue_date": TIMESTAMP,
            "issue_date_yearmonth": DATE,
        },
        ["business_id", "issue_date_yearmonth"],
    ),
    "customers": (
        {
            "customer_id": WHOLE,
            "name": TEXT,
            "country": TEXT,
            "code": TEXT,
            "credit_limit": DECIMAL,
            "since": DATE,
        },
        ["customer_id"],
    ),
    "ratings": ({"business_id": WHOLE, "rating['grade']": TEXT, "rating['score']": DECIMAL}, ["business_id"]),
    "parts": ({"k": TEXT, "n": WHOLE, "v": DECIMAL}, ["n"]),
    "numbers": ({"i": WHOLE, "d": DECIMAL}, ["i"]),
}
CONSTANTS = {
    WHOLE: ("0", "1", "-3", "7", "12", "25", "NULL::bigint"),
    DECIMAL: ("0.00", "1.5", "-3.25", "100.00", "5000.55", "NULL::decimal(9, 2)"),
    TEXT: ("''", "'DE'", "'O''Neil'", "'007'", "'a%'", "'ö'", "NULL::varchar"),
    DATE: ("DATE '2025-12-01'", "DATE '2024-02-29'", "DATE '2011-03-15'", "NULL::date"),
    TIMESTAMP: (
        "TIMESTAMP '2025-12-31 23:59:59'",
        "TIMESTAMP '2025-11-15 00:00:00'",
        "NULL::timestamp",
    ),
    BOOL: ("TRUE", "FALSE", "NULL::boolean"),
}


@dataclass
class Node:
    """Text and smaller nodes; `kind` says what may stand in its place."""

    kind: str
    parts: list[str | Node]
    # Nothing may stand in its place.
    is_optional: bool = False

    def __str__(self) -> str:
        """Write the SQL."""
        return "".join(map(str, self.parts))

    def nodes(self) -> Iterator[Node]:
        """Return this node and all below it, the larger first."""
        yield self
        for part in self.parts:
            if isinstance(part, Node):
                yield from part.nodes()

    def smaller(self) -> Iterator[Node]:
        """Return trees with one node cut off or replaced by something simpler, the smallest first."""
        for index, part in enumerate(self.parts):
            if not isinstance(part, Node):
                continue
            rest = [self.parts[:index], self.parts[index + 1 :]]
            if part.is_optional:
                yield Node(self.kind, [*rest[0], *rest[1]], self.is_optional)
            simple = [Node(part.kind, [CONSTANTS[part.kind][1]])] if part.kind in CONSTANTS else []
            inner = [node for node in part.nodes() if node is not part and node.kind == part.kind]
            for other in simple + inner:
                if len(str(other)) < len(str(part)):
                    yield Node(self.kind, [*rest[0], other, *rest[1]], self.is_optional)
            for other in part.smaller():
                yield Node(self.kind, [*rest[0], other, *rest[1]], self.is_optional)


@dataclass
class Scope:
    """The columns that an expression can name."""

    columns: list[tuple[str, str]] = field(default_factory=list)
    # Together they tell rows apart; empty when nothing does.
    keys: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[str]:
        """Return columns of a type."""
        return [name for name, own in self.columns if own == kind]


class Generator:
    """Makes one question from its seed."""

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

    # Expressions

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
                pattern = self.random.choice(("'%e%'", "'_'", "''", "'A%'", "'%\\_%'", "'%ö%'"))
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

    # Tables

    def table(self) -> tuple[Node, Scope]:
        """Return a table under a new name."""
        name = self.random.choice(list(TABLES))
        columns, keys = TABLES[name]
        alias = self.alias("t")
        scope = Scope(
            [(f"{alias}.{column}", kind) for column, kind in columns.items()],
            [f"{alias}.{key}" for key in keys],
        )
        return Node("table", [f"{name} AS {alias}"]), scope

    def source(self, depth: int) -> tuple[Node, Scope]:
        """Return what follows FROM."""
        if depth <= 0 or self.chance(0.3):
            return self.table()
        if self.chance(0.3):
            query, kinds, keys = self.query(depth - 1)
            alias = self.alias("q")
            scope = Scope(
                [(f"{alias}.{name}", kind) for name, kind in kinds], [f"{alias}.{key}" for key in keys]
            )
            return Node("table", ["(", query, f") AS {alias}"]), scope
        (left, mine), (right, other) = self.source(depth - 1), self.source(depth - 1)
        both = Scope(mine.columns + other.columns, mine.keys + other.keys if mine.keys and other.keys else [])
        shared = [t for t in (WHOLE, TEXT, DATE) if mine.of(t) and other.of(t)]
        if not shared:
            return left, mine
        kind = self.random.choice(shared)
        condition: list[str | Node] = [
            f"{self.random.choice(mine.of(kind))} = {self.random.choice(other.of(kind))}"
        ]
        if self.chance(0.6):
            # On either side, or on both.
            about = self.random.choice((mine, other, both))
            condition.append(Node("and", [" AND ", self.expression(BOOL, about, 1)], is_optional=True))
        join = self.random.choice(
            ("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "LEFT JOIN", "LEFT SEMI JOIN", "LEFT ANTI JOIN")
        )
        if join.endswith(("SEMI JOIN", "ANTI JOIN")):
            both = mine
        # A join on the right needs parentheses: `a JOIN b JOIN c ON … ON …` is not read.
        if any(node.kind == "join" for node in right.nodes()) and not str(right).startswith("("):
            right = Node("table", ["(", right, ")"])
        return Node("table", [left, Node("join", [f" {join} "]), right, " ON ", *condition]), both

    # Queries

    def query(self, depth: int) -> tuple[Node, list[tuple[str, str]], list[str]]:
        """Return a query, its columns and those that tell its rows apart."""
        source, scope = self.source(depth)
        where = Node("where", [" WHERE ", self.expression(BOOL, scope, 2)], is_optional=True)
        where = where if self.chance(0.7) else Node("where", [], is_optional=True)
        if self.chance(0.45):
            return self.grouped(source, where, scope)
        return self.plain(source, where, scope)

    def columns(self, items: list[tuple[Node, str]]) -> tuple[list[str | Node], list[tuple[str, str]]]:
        """Return the list behind SELECT and the columns' names and types."""
        parts: list[str | Node] = []
        names = []
        for item, kind in items:
            name = self.alias("c")
            names.append((name, kind))
            parts += [", " if parts else "", item, f" AS {name}"]
        return parts, names

    def plain(self, source: Node, where: Node, scope: Scope) -> tuple[Node, list[tuple[str, str]], list[str]]:
        """Return a query that groups nothing: windows, DISTINCT."""
        items = [
            (self.expression(kind, scope, 2), kind)
            for kind in self.random.choices((*VALUE_TYPES, BOOL), k=self.random.randint(1, 3))
        ]
        if self.chance(0.35):
            items.append(self.window(scope))
        parts, names = self.columns(items)
        distinct = "DISTINCT " if self.chance(0.2) else ""
        keys = [name for name, _ in names] if distinct else []
        return Node("query", [f"SELECT {distinct}", *parts, " FROM ", source, where]), names, keys

    def window(self, scope: Scope) -> tuple[Node, str]:
        """Return a function over a window with one answer for each row."""
        order_kind = self.random.choice((WHOLE, DECIMAL, TEXT, DATE, TIMESTAMP))
        first = self.leaf(order_kind, scope)
        direction = self.random.choice(("", " DESC", " NULLS FIRST", " DESC NULLS LAST"))
        partition = Node(
            "partition",
            ["PARTITION BY ", self.leaf(self.random.choice(VALUE_TYPES), scope), " "],
            is_optional=True,
        )
        over: list[str | Node] = [" OVER (", partition, "ORDER BY ", first, direction]
        number = self.random.choice((WHOLE, DECIMAL))
        argument = self.leaf(number, scope)
        if scope.keys and self.chance(0.7):
            keys = ", ".join(scope.keys)
            kind = self.random.choice(VALUE_TYPES)
            frame = self.random.choice(
                (
                    "",
                    " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
                    " ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING",
                    " ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING",
                    " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
                    " ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING",
                    " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
                )
            )
            end = [", ", keys, Node("frame", [frame], is_optional=True), ")"]
            match self.random.randrange(5):
                case 0:
                    return Node(WHOLE, ["ROW_NUMBER()", *over, ", ", keys, ")"]), WHOLE
                case 1:
                    name = self.random.choice(("LAG", "LEAD"))
                    return Node(
                        kind,
                        [
                            f"{name}(",
                            self.leaf(kind, scope),
                            f", {self.random.randint(0, 3)})",
                            *over,
                            ", ",
                            keys,
                            ")",
                        ],
                    ), kind
                case 2:
                    name = self.random.choice(("FIRST_VALUE", "LAST_VALUE"))
                    return Node(kind, [f"{name}(", self.leaf(kind, scope), ")", *over, *end]), kind
                case 3:
                    return Node(WHOLE, [f"NTILE({self.random.randint(1, 5)})", *over, ", ", keys, ")"]), WHOLE
                case _:
                    name = self.random.choice(("SUM", "MIN", "MAX"))
                    return Node(number, [f"{name}(", argument, ")", *over, *end]), number
        match self.random.randrange(3):
            case 0:
                return Node(
                    WHOLE, [self.random.choice(("RANK()", "DENSE_RANK()", "COUNT(*)")), *over, ")"]
                ), WHOLE
            case 1:
                return Node(
                    number, [self.random.choice(("SUM(", "MIN(", "MAX(")), argument, ")", *over, ")"]
                ), number
            case _:
                return Node(
                    WHOLE,
                    [
                        "COUNT(",
                        argument,
                        ")",
                        *over,
                        " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
                    ],
                ), WHOLE

    def aggregate(self, scope: Scope) -> tuple[Node, str]:
        """Return an aggregate."""
        kind = self.random.choice(VALUE_TYPES)
        number = self.random.choice((WHOLE, DECIMAL))
        match self.random.randrange(7):
            case 0:
                node = Node(WHOLE, ["COUNT(*)"])
            case 1:
                node = Node(
                    WHOLE,
                    [
                        "COUNT(",
                        Node("distinct", ["DISTINCT "], is_optional=True),
                        self.expression(kind, scope, 1),
                        ")",
                    ],
                )
            case 2 | 3:
                node = Node(
                    number,
                    [
                        "SUM(",
                        Node("distinct", ["DISTINCT " if self.chance(0.2) else ""], is_optional=True),
                        self.expression(number, scope, 1),
                        ")",
                    ],
                )
            case 4:
                node = Node(
                    BOOL,
                    [self.random.choice(("BOOL_AND(", "BOOL_OR(")), self.expression(BOOL, scope, 1), ")"],
                )
            case _:
                node = Node(
                    kind, [self.random.choice(("MIN(", "MAX(")), self.expression(kind, scope, 1), ")"]
                )
        if self.chance(0.25):
            node.parts.append(
                Node("filter", [" FILTER (WHERE ", self.expression(BOOL, scope, 1), ")"], is_optional=True)
            )
        return node, node.kind

    def grouped(
        self, source: Node, where: Node, scope: Scope
    ) -> tuple[Node, list[tuple[str, str]], list[str]]:
        """Return a query with GROUP BY in one of its forms, or one row of all."""
        kinds = [kind for kind in VALUE_TYPES if scope.of(kind)]
        groups = (
            list(
                dict.fromkeys(
                    self.random.choice(scope.of(self.random.choice(kinds)))
                    for _ in range(self.random.randint(0, 3))
                )
            )
            if kinds
            else []
        )
        types = dict(scope.columns)
        items = [(Node(types[group], [group]), types[group]) for group in groups]
        aggregates = [self.aggregate(scope) for _ in range(self.random.randint(1, 2))]
        parts, names = self.columns(items + aggregates)
        by = ""
        keys = [name for name, _ in names[: len(groups)]]
        if groups:
            listed = ", ".join(groups)
            by = f" GROUP BY {listed}"
            if self.chance(0.3):
                by = self.random.choice(
                    (
                        f" GROUP BY ROLLUP ({listed})",
                        f" GROUP BY CUBE ({listed})",
                        f" GROUP BY GROUPING SETS (({listed}), ({groups[0]}), ())",
                    )
                )
                # A NULL of the data and one of the set look the same.
                keys = []
        having = Node("having", [], is_optional=True)
        if self.chance(0.2):
            aggregate, kind = self.aggregate(scope)
            condition = Node(BOOL, ["(", aggregate, " = ", Node(kind, [CONSTANTS[kind][1]]), ")"])
            if self.chance(0.5):
                condition = Node(BOOL, ["(", aggregate, " IS NOT NULL)"])
            having = Node("having", [" HAVING ", condition], is_optional=True)
        return Node("query", ["SELECT ", *parts, " FROM ", source, where, by, having]), names, keys

    def question(self) -> Node:
        """Return a whole question."""
        query, names, _ = self.query(self.random.randint(0, 3))
        if self.chance(0.15):
            # The other side has the same types.
            source, scope = self.source(1)
            parts, _ = self.columns([(self.expression(kind, scope, 1), kind) for _, kind in names])
            operator = self.random.choice(("UNION", "UNION ALL", "INTERSECT", "EXCEPT"))
            other = Node("query", ["SELECT ", *parts, " FROM ", source])
            query = Node("query", [query, f" {operator} ", other])
        if self.chance(0.1):
            alias = self.alias("w")
            listed = ", ".join(name for name, _ in names)
            query = Node("query", [f"WITH {alias} AS (", query, f") SELECT {listed} FROM {alias}"])
        elif self.chance(0.3):
            order = ", ".join(
                f"{name}{self.random.choice(('', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST'))}"
                for name, _ in names
            )
            limit = f" LIMIT {self.random.randint(0, 20)}" if self.chance(0.7) else ""
            limit += f" OFFSET {self.random.randint(1, 5)}" if limit and self.chance(0.3) else ""
            query = Node("query", [query, Node("order", [f" ORDER BY {order}{limit}"], is_optional=True)])
        return query
