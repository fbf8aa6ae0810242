"""A checkpoint is a cache: whatever happens to it, decisions and state are those of all decisions."""

import hashlib
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from support.kafka import Kafka
from support.services import Bucket, Database, Postgres, wait_until
from support.stream import assert_same_effects, consume, effects, start_consumer, traffic
from support.tasks import Result, run

PARTITIONS = 2
# A static member that comes back is known to the broker, so nobody waits for the dead one's session.
SAME_MEMBER = ("--instance", "one")
STAGES = (
    "checkpoint::before_put",
    "checkpoint::before_delete",
    "checkpoint::after_delete",
    "checkpoint::before_read",
    "checkpoint::read",
)
MESSAGES = traffic(86, 2400, partitions=PARTITIONS)


@pytest.fixture
def topic(kafka: Kafka, database: Database) -> str:
    return kafka.create_topic(f"{database.name}.invoices", partitions=PARTITIONS)


def kept(folder: Path, partition: int = 0) -> list[Path]:
    """Return the checkpoints of a partition, oldest first."""
    return sorted(folder.glob(f"_checkpoints/*/{partition}/*"))


def decide(kafka: Kafka, database: Database, topic: str, folder: Path, *more: object, **options) -> Result:
    return consume(kafka, database, topic, *SAME_MEMBER, "--checkpoints", folder.as_uri(), *more, **options)


def in_turns(kafka: Kafka, database: Database, topic: str, folder: Path, turns: int = 3) -> None:
    """Decide a share of the traffic in each of several runs, each of which leaves a checkpoint."""
    share = len(MESSAGES) // turns
    for turn in range(turns):
        kafka.produce(topic, MESSAGES[turn * share : (turn + 1) * share if turn < turns - 1 else None])
        decide(kafka, database, topic, folder)


def from_checkpoint(result: Result) -> dict[int, tuple[int, int]]:
    """Return of each partition how many decisions a checkpoint gave, and of how many its state is."""
    lines = [json.loads(line) for line in result.stderr.splitlines() if "state loaded" in line]
    fields = [line.get("fields", line) for line in lines]
    return {line["partition"]: (line["from_checkpoint"], line["decisions"]) for line in fields}


def assert_uninterrupted(kafka: Kafka, postgres: Postgres, database: Database, topic: str) -> None:
    """Compare with the decisions of one run without checkpoints."""
    other = postgres.create_database()
    flags = ["--brokers", kafka.bootstrap, "--topic", topic, "--group", f"{topic}.other", "--exit-at-end",
             "--dead-letter-topic", f"{topic}.other", "--decisions", other.url()]  # fmt: skip
    run("invoice_consumer", *flags, env=other.env())
    assert_same_effects(effects(database), effects(other))
    other.drop()


def rewritten(path: Path, change: Callable[[dict], None]) -> None:
    """Change what a checkpoint says of itself, with a hash that fits."""
    head, _, body = path.read_bytes()[:-32].partition(b"\n")
    said = json.loads(head)
    change(said)
    content = json.dumps(said).encode() + b"\n" + body
    path.write_bytes(content + hashlib.sha256(content).digest())


def test_states_from_checkpoints_and_from_all_decisions_are_the_same_bytes(
    kafka: Kafka, postgres: Postgres, database: Database, topic: str, tmp_path: Path
) -> None:
    """Grown over starts from checkpoints and kept at the end, or rebuilt from the decisions alone."""
    in_turns(kafka, database, topic, tmp_path / "grown")
    rebuilt = decide(kafka, database, topic, tmp_path / "rebuilt")
    assert {given for given, _ in from_checkpoint(rebuilt).values()} == {0}
    for partition in range(PARTITIONS):
        grown = kept(tmp_path / "grown", partition)
        assert len(grown) == 2, "the last two are kept"
        (whole,) = kept(tmp_path / "rebuilt", partition)
        assert (grown[-1].name, grown[-1].read_bytes()) == (whole.name, whole.read_bytes())
    again = from_checkpoint(decide(kafka, database, topic, tmp_path / "rebuilt"))
    assert len(again) == PARTITIONS
    assert all(given == decisions > 0 for given, decisions in again.values())
    assert_uninterrupted(kafka, postgres, database, topic)


def test_checkpoints_are_written_while_it_decides_and_when_it_is_asked_to_end(
    kafka: Kafka, postgres: Postgres, database: Database, topic: str, bucket: Bucket, tmp_path: Path
) -> None:
    flags = ["--checkpoints", bucket.url, "--checkpoint-every", 100]
    task = start_consumer(kafka, database, topic, *SAME_MEMBER, *flags, env=bucket.env)
    try:
        third = len(MESSAGES) // 3
        for turn in range(3):
            kafka.produce(topic, MESSAGES[turn * third : (turn + 1) * third if turn < 2 else None])
            wait_until(lambda turn=turn: task.stderr_so_far().count("checkpoint written") > 2 * turn, 30)
        total = len(MESSAGES)
        offsets = "select sum(next_offset) from risk.stream_offsets"
        wait_until(lambda: database.sql(offsets)[0][0] == total, 30)
    finally:
        task.send_signal(signal.SIGTERM)
    assert task.finish().exit_code == 0
    again = consume(kafka, database, topic, *SAME_MEMBER, *flags, env=bucket.env)
    assert all(given == decisions > 0 for given, decisions in from_checkpoint(again).values())
    # What the store holds is what the decisions say.
    consume(kafka, database, topic, *SAME_MEMBER, "--checkpoints", tmp_path.as_uri())
    for partition in range(PARTITIONS):
        (whole,) = kept(tmp_path, partition)
        names = bucket.keys(f"_checkpoints/{topic}/{partition}/")
        assert len(names) <= 2
        assert bucket.read(names[-1]) == whole.read_bytes()
    assert_uninterrupted(kafka, postgres, database, topic)


@pytest.mark.faults
@pytest.mark.parametrize("stage", STAGES)
def test_killed_while_a_checkpoint_is_written_or_loaded(
    kafka: Kafka, postgres: Postgres, database: Database, topic: str, tmp_path: Path, stage: str
) -> None:
    half = len(MESSAGES) // 2
    kafka.produce(topic, MESSAGES[: half // 2])
    decide(kafka, database, topic, tmp_path)
    kafka.produce(topic, MESSAGES[half // 2 : half])
    for skipped in (0, 1):
        flags = ("--checkpoint-every", 50, "--batch-max", 20)
        killed = decide(kafka, database, topic, tmp_path, *flags, check=False,
                        failpoints=f"{stage}={skipped}*off->return")  # fmt: skip
        assert killed.exit_code == -signal.SIGABRT, killed.stderr
        kafka.produce(topic, MESSAGES[half : half + 300] if skipped == 0 else MESSAGES[half + 300 :])
    decide(kafka, database, topic, tmp_path)
    decide(kafka, database, topic, tmp_path / "rebuilt")
    for partition in range(PARTITIONS):
        grown, rebuilt = kept(tmp_path, partition)[-1], kept(tmp_path / "rebuilt", partition)[-1]
        assert (grown.name, grown.read_bytes()) == (rebuilt.name, rebuilt.read_bytes())
    assert_uninterrupted(kafka, postgres, database, topic)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of_another_format(path: Path) -> None:
    rewritten(path, lambda head: head.update(format=99))


def of_another_model(path: Path) -> None:
    rewritten(path, lambda head: head.update(model="features-0"))


def of_other_decisions(path: Path) -> None:
    rewritten(path, lambda head: head["last"].update(decided_us=1))


def of_a_later_place(path: Path) -> None:
    path.rename(path.with_name(f"{10**9:020}"))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (cut, "cut or changed"),
        (flipped, "cut or changed"),
        (of_another_format, "format 99"),
        (of_another_model, "features-0"),
        (of_other_decisions, "other decisions"),
        (of_a_later_place, "behind the last decision"),
        (Path.unlink, None),
    ],
)
def test_a_checkpoint_that_is_not_right_is_said_and_the_one_before_is_used(
    kafka: Kafka, postgres: Postgres, database: Database, topic: str, tmp_path: Path,
    harm: Callable[[Path], None], said: str | None,
) -> None:  # fmt: skip
    in_turns(kafka, database, topic, tmp_path)
    older, newest = kept(tmp_path)
    right = newest.read_bytes()
    harm(newest)
    done = decide(kafka, database, topic, tmp_path)
    given, decisions = from_checkpoint(done)[0]
    assert 0 < given < decisions
    sentences = [line for line in done.stderr.splitlines() if "is not used" in line]
    assert len(sentences) == (said is not None)
    assert all(said in sentence for sentence in sentences)
    # Made anew from the one before and the decisions, it is the same.
    assert newest.read_bytes() == right
    for path in kept(tmp_path):
        if path != older:
            path.unlink()
    harm(older)
    from_decisions = from_checkpoint(decide(kafka, database, topic, tmp_path))
    assert from_decisions[0] == (0, decisions)
    assert_uninterrupted(kafka, postgres, database, topic)


def test_a_database_that_decided_anew_does_not_get_the_old_state(
    kafka: Kafka, postgres: Postgres, database: Database, topic: str, tmp_path: Path
) -> None:
    in_turns(kafka, database, topic, tmp_path)
    # As after a restore to before the first decision: the topic is decided again, a little later.
    for table in ("decisions", "stream_offsets", "business_day_changes", "notifications"):
        database.sql(f"truncate risk.{table}")
    consume(kafka, database, topic, *SAME_MEMBER)
    done = decide(kafka, database, topic, tmp_path)
    assert {given for given, _ in from_checkpoint(done).values()} == {0}
    assert done.stderr.count("other decisions") == 2 * PARTITIONS
    assert_uninterrupted(kafka, postgres, database, topic)


def test_a_store_that_is_away_keeps_nobody_from_deciding(
    kafka: Kafka, postgres: Postgres, database: Database, topic: str, tmp_path: Path
) -> None:
    kafka.produce(topic, MESSAGES)
    away = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true", "AWS_RETRY_SECONDS": "1"}  # fmt: skip
    done = consume(kafka, database, topic, "--checkpoints", "s3://nowhere/risk", env=away)
    assert "no checkpoint is used" in done.stderr
    assert "no checkpoint was written at the end" in done.stderr
    assert_uninterrupted(kafka, postgres, database, topic)


def test_a_place_that_is_none_is_refused_in_one_sentence(
    kafka: Kafka, database: Database, topic: str
) -> None:
    done = consume(kafka, database, topic, "--checkpoints", "ftp://x/y", check=False)
    assert done.exit_code == 78
    assert "--checkpoints" in done.stderr
