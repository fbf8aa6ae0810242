"""Turns samples into a table for people and a JSON file for programs."""

import json
import os
import platform
from argparse import Namespace
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from contestants import LIMIT, PROJECT, Contestant
from measure import Sample, medians

RESULTS_FOLDER = Path(__file__).resolve().parent / "results"
HEADINGS = (
    "contestant", "months", "wall s", "x limit", "x project", "CPU s", "peak MiB", "runs s",
)  # fmt: skip

Results = list[tuple[Contestant, list[Sample]]]


def seconds_of(results: Results, name: str, months: int) -> float | None:
    """Return the median wall seconds of one row."""
    for contestant, samples in results:
        if (contestant.name, contestant.months) == (name, months):
            return medians(samples).seconds
    return None


def ratio(seconds: float, base: float | None) -> str:
    """Return how many times longer something took."""
    return f"{seconds / base:.2f}" if base else "-"


def table_rows(results: Results) -> list[list[str]]:
    """Return the cells of the table, medians over the runs."""
    rows = []
    for contestant, samples in results:
        middle = medians(samples)
        rows.append([
            contestant.name,
            str(contestant.months),
            f"{middle.seconds:.2f}",
            ratio(middle.seconds, seconds_of(results, LIMIT, contestant.months)),
            ratio(middle.seconds, seconds_of(results, PROJECT, contestant.months)),
            f"{middle.cpu_seconds:.2f}",
            f"{middle.peak_rss_mib:.0f}",
            " ".join(f"{sample.seconds:.2f}" for sample in samples),
        ])  # fmt: skip
    return rows


def markdown_table(rows: list[list[str]]) -> str:
    """Lay the rows out as a Markdown table whose columns also line up in a terminal."""
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    lines = [HEADINGS, rule, *rows]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)


def machine() -> str:
    """Say what the numbers were measured on."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.machine()}"


def save(results: Results, options: Namespace, versions: dict[str, str]) -> str:
    """Write the Markdown and JSON files; return the Markdown."""
    today = datetime.now(UTC).date()
    setting = {
        "date": str(today),
        "machine": machine(),
        "invoices": options.invoices,
        "customers": options.customers,
        "data": options.data,
        "lake": options.lake,
        "versions": versions,
    }
    text = "\n".join([
        f"# {options.invoices:,} invoices, {options.customers:,} customers, {today}",
        "",
        f"{machine()}; data {options.data}; lake on {options.lake}; "
        f"medians of {options.runs} runs after a warm-up. "
        + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        "",
        markdown_table(table_rows(results)),
        "",
        "CPU and peak memory are the client's; the database's own work shows in the wall clock.",
        "Every contestant wrote the same rows, duckdb_grouped without a copy of the invoices:",
        "their tables were compared with the database's",
        "totals and, by a hash over all values, with each other.",
        "",
    ])  # fmt: skip
    rows = [
        {
            "contestant": contestant.name,
            "months": contestant.months,
            "median": asdict(medians(samples)),
            "samples": [asdict(sample) for sample in samples],
        }
        for contestant, samples in results
    ]
    RESULTS_FOLDER.mkdir(exist_ok=True)
    path = RESULTS_FOLDER / f"{today}-{options.name}"
    path.with_suffix(".md").write_text(text)
    path.with_suffix(".json").write_text(json.dumps({**setting, "results": rows}, indent=2) + "\n")
    return text
