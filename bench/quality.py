"""How well the default rules find planted fraud: a table per typology over seeds.

    python bench/quality.py --seeds 1001-1010

Rules were tuned on seeds 1 to 10; other seeds are unseen.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.tasks import run


def seeds(text: str) -> range:
    """Parse `7` or `1-10`."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def measure(seed: int, invoices: int, customers: int, rules: str | None) -> tuple[dict, dict, Counter, int]:
    """Return cases planted, cases found, normal invoices flagged by rule, and their number."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events, labels = folder / "events.jsonl", folder / "labels.csv"
        filled = run(
            "populate_tables", "--source", f"sqlite:{folder}/i.db", "--customers", customers,
            "--invoices", invoices, "--seed", seed, "--until", "2026-06-30",
            "--scenarios", "--labels", labels, "--events", events,
        )  # fmt: skip
        flags = ["--rules", rules] if rules else []
        done = run("invoice_consumer", "--from", events, *flags, check=False)
        assert done.exit_code == 0, done.stderr
        planted, found, flagged = {}, defaultdict(set), Counter()
        for line in labels.read_text().splitlines()[1:]:
            number, case, typology = line.split(",")
            planted[int(number)] = (typology, case)
        cases = defaultdict(set)
        for typology, case in planted.values():
            cases[typology].add(case)
        normal_flagged = 0
        for line in done.stdout.splitlines()[:-1]:
            decision = json.loads(line)
            if decision["status"] not in ("review", "block"):
                continue
            if decision["invoice_id"] in planted:
                typology, case = planted[decision["invoice_id"]]
                found[typology].add(case)
            else:
                normal_flagged += 1
                flagged.update(rule["id"] for rule in decision["rules"])
        flagged["all"] = normal_flagged
        return cases, found, flagged, filled.result["invoices"] - len(planted)


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=seeds, default=seeds("1001-1010"))
    parser.add_argument("--invoices", type=int, default=50_000)
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--rules")
    args = parser.parse_args()
    planted, found, flagged, normal = Counter(), Counter(), Counter(), 0
    for seed in args.seeds:
        cases, hits, flags, others = measure(seed, args.invoices, args.customers, args.rules)
        planted.update({typology: len(numbers) for typology, numbers in cases.items()})
        found.update({typology: len(numbers) for typology, numbers in hits.items()})
        flagged.update(flags)
        normal += others
    print("| typology | cases | found | recall |\n|---|---|---|---|")
    for typology in sorted(planted):
        cases, hits = planted[typology], found[typology]
        print(f"| {typology} | {cases} | {hits} | {hits / cases:.3f} |")
    total, hits = planted.total(), found.total()
    print(f"| **all** | {total} | {hits} | **{hits / total:.3f}** |\n")
    share = 100 * flagged["all"] / normal
    print(f"Of {normal:,} other invoices {flagged['all']:,} are flagged: **{share:.2f} %**, by rule:")
    for rule, count in flagged.most_common():
        if rule != "all":
            print(f"{rule} {count:,} ({100 * count / normal:.3f} %)")


if __name__ == "__main__":
    main()
