"""`invoice_consumer --from`: decisions from a file, with no service at all."""

import json
from pathlib import Path

import pytest

from support.stream import DAY_US, START_US, envelope, invoice, last_line, lines, traffic
from support.tasks import Result, run


def decide(path: Path, *flags: object, exit_code: int = 0) -> Result:
    done = run("invoice_consumer", "--from", path, *flags, check=False)
    assert done.exit_code == exit_code, done.stderr
    return done


def write(path: Path, events: list[bytes]) -> Path:
    path.write_bytes(b"".join(event + b"\n" for event in events))
    return path


def test_every_insert_gets_one_decision_with_all_that_is_promised(tmp_path: Path) -> None:
    events = [
        envelope("c", None, invoice(1, START_US, 1, 2, 99_990), 10, START_US),
        envelope("c", None, invoice(2, START_US + 1, 3, 3, 5_000), 20, START_US + 1),
        envelope("c", None, invoice(1, START_US, 1, 2, 99_990), 10, START_US),
        envelope("u", None, invoice(1, START_US, 1, 1, 99_990), 30, START_US + 2),
        envelope("d", invoice(2, START_US, 3, 3, 5_000), None, 40, START_US + 3),
        b"null",
        b"garbage",
        b'{"op":"t"}',
    ]
    done = decide(write(tmp_path / "events.jsonl", events))
    first, to_itself, updated, withdrawn = lines(done)
    assert (first["invoice_id"], first["lsn"], first["status"]) == (1, 10, "approve")
    assert first["features"]["amount"] == 99_990
    assert first["committed_at"] == "2026-01-01T00:00:00.000000Z"
    assert to_itself["status"] == "block"
    assert to_itself["rules"][0]["id"] == "self_invoice"
    assert (updated["op"], updated["status"]) == ("u", "block")
    assert withdrawn["status"] == "withdrawn"
    result = last_line(done)
    # A truncation without a position lies before what has one, so it is told about.
    assert (result["decisions"], result["duplicates"], result["dead_letters"]) == (4, 1, 2)


def test_the_same_file_gives_the_same_bytes_and_standard_input_too(tmp_path: Path) -> None:
    path = write(tmp_path / "events.jsonl", [value for _, _, value in traffic(1, 2000) if value])
    one, other = decide(path), decide(path)
    assert list(lines(one)) == list(lines(other))
    assert len(list(lines(one))) > 1500


def test_explain_says_which_rules_fired_and_why(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", [envelope("c", None, invoice(7, START_US, 3, 3, 5_000), 1, START_US)])
    done = decide(path, "--explain", 7)
    assert "+ self_invoice" in done.stderr
    assert "- circle" in done.stderr
    assert "a business invoices itself" in done.stderr
    decide(path, "--explain", 8, exit_code=2)


def test_a_wrong_rules_file_is_named_by_line_and_column(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        "[thresholds]\nreview = 1\nblock = 2\n"
        "[[rule]]\nid = 'a'\nscore = 1\nreason = 'r'\nwhen = 'amont > 1'\n"
    )
    events = write(tmp_path / "e.jsonl", [])
    done = run("invoice_consumer", "--from", events, "--rules", rules, check=False)
    assert done.exit_code == 78
    assert "line 8, column 9: there is no feature amont; did you mean amount?" in done.stderr
    assert run("invoice_consumer", "check", rules, check=False).exit_code == 78


def test_a_candidate_runs_in_shadow_and_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", [value for _, _, value in traffic(2, 500) if value])
    rules = tmp_path / "candidate.toml"
    rules.write_text(
        "[thresholds]\nreview = 40\nblock = 80\n"
        "[[rule]]\nid = 'all'\nscore = 40\nreason = 'all'\nwhen = 'amount > -1'\n"
    )
    plain, shadowed = decide(path), decide(path, "--shadow-rules", rules)
    assert list(lines(plain)) == list(lines(shadowed))
    assert last_line(shadowed)["shadow_differences"] > 300
    assert "the candidate rules differ" in shadowed.stderr


def test_late_invoices_see_the_windows_at_their_own_date(tmp_path: Path) -> None:
    events = [
        envelope("c", None, invoice(n, START_US + day * DAY_US, 1, 2, 1_000), n, START_US + day * DAY_US)
        for n, day in ((1, 0), (2, 20), (3, 19))
    ]
    late = list(lines(decide(write(tmp_path / "e.jsonl", events))))[2]["features"]
    assert (late["late"], late["issuer_count_24h"], late["issuer_count_30d"]) == (86_400, 0, 1)


@pytest.mark.parametrize("seed", [1001, 1002])
def test_planted_fraud_is_found_and_little_else(tmp_path: Path, seed: int) -> None:
    events, labels = tmp_path / "events.jsonl", tmp_path / "labels.csv"
    run("populate_tables", "--source", f"sqlite:{tmp_path}/i.db", "--customers", 2000,
        "--invoices", 50_000, "--seed", seed, "--until", "2026-06-30",
        "--scenarios", "--labels", labels, "--events", events)  # fmt: skip
    cases: dict[str, set] = {}
    planted = {}
    for line in labels.read_text().splitlines()[1:]:
        number, case, typology = line.split(",")
        planted[int(number)] = (typology, case)
        cases.setdefault(typology, set()).add(case)
    flagged = [d["invoice_id"] for d in lines(decide(events)) if d["status"] in ("review", "block")]
    found = {planted[number] for number in flagged if number in planted}
    total = sum(map(len, cases.values()))
    assert len(cases) == 10
    assert len(found) / total >= 0.95, {planted[n] for n in planted} - found
    normal = sum(number not in planted for number in flagged)
    assert normal / 50_000 <= 0.01, normal


def test_features_are_listed_with_their_formulas() -> None:
    done = run("invoice_consumer", "features")
    assert "issuer_z" in done.stderr
    assert done.result["features"] >= 40


def test_a_missing_file_is_a_matter_of_configuration(tmp_path: Path) -> None:
    done = run("invoice_consumer", "--from", tmp_path / "none", check=False)
    assert (done.exit_code, json.loads(done.stdout)["status"]) == (78, "failed")
