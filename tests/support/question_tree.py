"""What a generated question is made of: typed nodes, and the tables whose columns they name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

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
