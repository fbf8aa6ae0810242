"""Questions by chance over the tables of the questions' data, in the manner of sqlsmith and SQLancer.

A question is a tree of nodes with types, so it is always well typed, and a smaller one is made by cutting the
tree. Only what has one right answer is asked: LIMIT and frames of rows come with an order that leaves no two
rows equal.
"""

from support.question_expressions import Expressions
from support.question_tree import (
    BOOL,
    CONSTANTS,
    DATE,
    DECIMAL,
    TABLES,
    TEXT,
    TIMESTAMP,
    VALUE_TYPES,
    WHOLE,
    Node,
    Scope,
)


class Generator(Expressions):
    """Makes one question from its seed."""

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
