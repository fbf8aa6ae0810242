"""`invoice_consumer --onnx-model`: the score of a model is a feature, exact and repeatable."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from support.kafka import Kafka
from support.services import Database
from support.stream import assert_same_effects, consume, effects, last_line, lines, traffic
from support.tasks import Result, run

TAKES = ("amount", "issuer_count_24h", "pair_history", "issuer_age", "limit_gap", "trailing_zeros")
MEANS = (120_000, 2, 4, 1_500_000, 5_000, 3)
SCALES = (150_000, 2, 5, 1_200_000, 3_000, 2)
ROOT = Path(__file__).parent.parent
HEAD = "[thresholds]\nreview = 40\nblock = 80\n"
ON_SCORE = HEAD + (
    "[[rule]]\nid = 'model'\nscore = 50\n"
    "reason = 'the model gives {onnx_score}'\nwhen = 'onnx_score >= 6000'\n"
)


def save(
    path: Path,
    nodes: list,
    constants: dict[str, object],
    *,
    takes: tuple[str, ...] | None = TAKES,
    kind: int = TensorProto.FLOAT,
    shape: tuple = ("batch", len(TAKES)),
    outputs: tuple = (("score", TensorProto.FLOAT),),
    inputs: tuple[str, ...] = ("x",),
    score: str | None = None,
) -> Path:
    """Write a model of these nodes from `x` to the outputs."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
        [helper.make_tensor_value_info(name, of, None) for name, of in outputs],
        [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    properties = {"features": takes and ", ".join(takes), "score": score}
    helper.set_model_props(model, {key: value for key, value in properties.items() if value})
    onnx.save(model, str(path))
    return path


def standardised() -> tuple[list, dict[str, object]]:
    nodes = [helper.make_node("Sub", ["x", "mean"], ["c"]), helper.make_node("Div", ["c", "scale"], ["z"])]
    return nodes, {"mean": MEANS, "scale": SCALES}


def logistic(path: Path, **form: object) -> Path:
    nodes, constants = standardised()
    nodes += [helper.make_node("Gemm", ["z", "w", "b"], ["y"]), helper.make_node("Sigmoid", ["y"], ["score"])]
    weights = [[0.9], [0.7], [-0.4], [-0.8], [-0.5], [0.3]]
    return save(path, nodes, constants | {"w": weights, "b": [0.2]}, **form)


def network(path: Path) -> Path:
    """Two hidden layers and the two probabilities of a classifier."""
    chance = np.random.default_rng(3)
    nodes, constants = standardised()
    before, width = "z", len(TAKES)
    for layer, (size, activation) in enumerate(((32, "Relu"), (16, "Tanh"), (2, "Softmax"))):
        nodes.append(helper.make_node("Gemm", [before, f"w{layer}", f"b{layer}"], [f"g{layer}"]))
        nodes.append(helper.make_node(activation, [f"g{layer}"], [f"a{layer}"]))
        constants[f"w{layer}"] = chance.normal(0, 1.5 / width**0.5, (width, size))
        constants[f"b{layer}"] = chance.normal(0, 0.2, size)
        before, width = f"a{layer}", size
    return save(path, nodes, constants, outputs=(("a2", TensorProto.FLOAT),))


def trees(path: Path) -> Path:
    """Forty trees of two questions each, as boosting libraries export them, with labels beside."""
    chance = np.random.default_rng(4)
    keys = ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")
    columns: dict[str, list] = {f"nodes_{key}": [] for key in keys}
    leaves: dict[str, list] = {f"class_{key}": [] for key in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(40):
        for node in range(5):
            feature = int(chance.integers(len(TAKES)))
            question = node < 2
            threshold = MEANS[feature] + SCALES[feature] * chance.normal(0, 0.7) if question else 0.0
            ways = ((1, 2), (3, 4))[node] if question else (0, 0)
            row = (tree, node, feature, "BRANCH_LEQ" if question else "LEAF", float(threshold), *ways)
            for key, value in zip(keys, row, strict=True):
                columns[f"nodes_{key}"].append(value)
            if not question:
                for key, value in (("treeids", tree), ("nodeids", node), ("ids", 0)):
                    leaves[f"class_{key}"].append(value)
                leaves["class_weights"].append(float(chance.normal(0, 0.3)))
    node = helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "probabilities"], domain="ai.onnx.ml",
        classlabels_int64s=[0, 1], post_transform="LOGISTIC", **columns, **leaves,
    )  # fmt: skip
    outputs = (("label", TensorProto.INT64), ("probabilities", TensorProto.FLOAT))
    return save(path, [node], {}, outputs=outputs, score="probabilities")


def write_events(path: Path, seed: int, count: int) -> Path:
    path.write_bytes(b"".join(value + b"\n" for _, _, value in traffic(seed, count) if value))
    return path


def decide(events: Path, *flags: object, exit_code: int = 0) -> Result:
    done = run("invoice_consumer", "--from", events, *flags, check=False)
    assert done.exit_code == exit_code, done.stderr
    return done


def asked(model: Path, decisions: list[dict]) -> np.ndarray:
    """Score the features of decisions with onnxruntime."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    [taken] = session.get_inputs()
    rows = np.array([[d["features"][name] for name in TAKES] for d in decisions]).astype(np.float32)
    wanted = [session.get_outputs()[-1].name]
    return session.run(wanted, {taken.name: rows})[0][:, -1].astype(np.float64)


@pytest.mark.parametrize("make", [logistic, network, trees])
def test_scores_are_those_of_onnxruntime(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    model = make(tmp_path / "model.onnx")
    done = decide(write_events(tmp_path / "e.jsonl", 31, 6000), "--onnx-model", model)
    decisions = [d for d in lines(done) if d["status"] != "withdrawn"]
    ours = np.array([d["features"]["onnx_score"] for d in decisions])
    exact = asked(model, decisions) * 10_000
    # Floats differ in their seventh digit, so the integers may differ only beside a half.
    beside = np.abs(exact - np.floor(exact) - 0.5) < 0.01
    assert len(decisions) > 5000
    assert len(np.unique(ours)) > 100
    assert beside.mean() < 0.05
    assert np.abs(ours - exact).max() < 0.51
    np.testing.assert_array_equal(ours[~beside], np.rint(exact[~beside]).astype(np.int64))


def test_the_score_is_a_feature_of_rules_and_the_file_part_of_the_model(tmp_path: Path) -> None:
    model = logistic(tmp_path / "model.onnx")
    events = write_events(tmp_path / "e.jsonl", 32, 1500)
    rules = tmp_path / "rules.toml"
    rules.write_text(ON_SCORE)
    scored = decide(events, "--onnx-model", model, "--rules", rules)
    plain, again = decide(events), decide(events, "--onnx-model", model, "--rules", rules)
    assert scored.stdout.splitlines()[:-1] == again.stdout.splitlines()[:-1]
    for decision, without in zip(lines(scored), lines(plain), strict=True):
        features = decision["features"]
        score = features.pop("onnx_score")
        # A withdrawal is no judgement; everything else is judged by the score alone.
        assert decision["score"] == (50 if score >= 6000 else 0)
        assert features == without["features"]
        assert "onnx_score" not in without["features"]
    fired = [d["rules"][0]["reason"] for d in lines(scored) if d["rules"]]
    assert 20 < len(fired) < 1200
    assert re.fullmatch(r"the model gives \d\d\.\d\d %", fired[0])
    assert re.fullmatch(r"features-1\+onnx-[0-9a-f]{16}", last_line(scored)["model"])
    assert last_line(plain)["model"] == "features-1"
    other = decide(events, "--onnx-model", network(tmp_path / "other.onnx"))
    assert last_line(other)["model"] != last_line(scored)["model"]


def test_explain_shows_the_score(tmp_path: Path) -> None:
    events = write_events(tmp_path / "e.jsonl", 33, 50)
    done = decide(events, "--onnx-model", logistic(tmp_path / "m.onnx"), "--explain", 1)
    assert re.search(r"^  onnx_score +\d+\.\d\d %  score of the ONNX model", done.stderr, re.MULTILINE)
    assert "+onnx-" in done.stderr
    assert "onnx_score" not in decide(events, "--explain", 1).stderr


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ("reason = 'r'\nwhen = 'amount > 1 && onnx_score > 1'", "line 8, column 23"),
        ("reason = 'it is {onnx_score}'\nwhen = 'amount > 1'", "line 7, column 17"),
    ],
)
def test_rules_on_a_score_need_a_model(tmp_path: Path, rule: str, place: str) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(f"{HEAD}[[rule]]\nid = 'a'\nscore = 1\n{rule}\n")
    events = write_events(tmp_path / "e.jsonl", 34, 5)
    for flag in ("--rules", "--shadow-rules"):
        refused = decide(events, flag, rules, exit_code=78).stderr
        assert f"{place}: onnx_score needs an ONNX model: name its file with --onnx-model" in refused
    model = logistic(tmp_path / "m.onnx")
    decide(events, "--rules", rules, "--onnx-model", model)
    checked = run("invoice_consumer", "check", rules, "--onnx-model", model).result
    assert (checked["needs_onnx_model"], checked["rules"]) == (True, 1)
    assert "+onnx-" in checked["model"]


def plain_node(operator: str, **form: object) -> Callable[[Path], object]:
    """Return the maker of a model of one operator on the first feature."""
    return lambda path: save(path, [helper.make_node(operator, ["x"], ["score"])], {}, **form)


ONE = {"takes": ("amount",), "shape": ("batch", 1)}
INT = {"kind": TensorProto.INT64, "outputs": (("score", TensorProto.INT64),)}
TWO_OUTPUTS = {"outputs": (("z", TensorProto.FLOAT), ("score", TensorProto.FLOAT))}
BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "none": (lambda path: None, "cannot read the ONNX model"),
    "a text": (lambda path: path.write_text("[thresholds]\n"), "it is no ONNX file"),
    "empty": (lambda path: path.write_bytes(b""), "its metadata has no property `features`"),
    "no metadata": (lambda path: logistic(path, takes=None), "must name the features that the model takes"),
    "unknown feature": (
        lambda path: logistic(path, takes=("amont", *TAKES[1:])),
        'it takes a feature "amont", which does not exist; did you mean amount?',
    ),
    "its own score": (lambda path: logistic(path, takes=("onnx_score",)), "which does not exist"),
    "more numbers than names": (
        lambda path: logistic(path, takes=TAKES[:5]),
        "its input is of shape [any, 6]; its metadata names 5 features, so [any, 5] is expected",
    ),
    "an image": (plain_node("Relu", shape=(1, 3, 8, 8)), "its input is of shape [1, 3, 8, 8]"),
    "a fixed batch": (lambda path: logistic(path, shape=(64, 6)), "its input is of shape [64, 6]"),
    "whole numbers": (
        plain_node("Neg", **ONE, **INT),
        "its input is of type I64; 32-bit floats are expected",
    ),
    "two inputs": (
        lambda path: save(path, [helper.make_node("Add", ["x", "y"], ["score"])], {}, inputs=("x", "y")),
        "it has 2 inputs; one is expected",
    ),
    "two outputs": (
        lambda path: logistic(path, **TWO_OUTPUTS),
        "it has 2 outputs (z, score); name the one that is the score in the metadata property `score`",
    ),
    "an unknown output": (
        lambda path: logistic(path, score="risk"),
        'its metadata names "risk" as the score, and its outputs are score',
    ),
    "many numbers": (plain_node("Relu"), "its score has 6 numbers; one is expected"),
    "no number": (plain_node("Log", **ONE), "its score is -inf when all features are 0"),
    "not a number": (plain_node("Sqrt", **ONE), "its score is NaN when all features are -1"),
    "an unknown operator": (plain_node("Frobnicate", **ONE), "Frobnicate"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    make, sentence = BAD_FILES[kind]
    make(tmp_path / "model.onnx")
    events = write_events(tmp_path / "e.jsonl", 35, 5)
    done = decide(events, "--onnx-model", tmp_path / "model.onnx", exit_code=78)
    assert sentence in done.result["error"]
    assert list(lines(done)) == []
    assert len(done.stderr.splitlines()) == 1
    assert len(done.stderr) < 1000


def test_a_damaged_file_is_refused_or_computed_and_never_a_crash(tmp_path: Path) -> None:
    whole = network(tmp_path / "whole.onnx").read_bytes()
    events = write_events(tmp_path / "e.jsonl", 36, 5)
    damaged = tmp_path / "damaged.onnx"
    chance = np.random.default_rng(7)
    for trial in range(120):
        broken = bytearray(whole)
        if trial % 2:
            broken = broken[: chance.integers(len(whole))]
        else:
            for place in chance.integers(len(whole), size=4):
                broken[place] = chance.integers(256)
        damaged.write_bytes(broken)
        done = run("invoice_consumer", "--from", events, "--onnx-model", damaged, check=False, timeout=20)
        assert done.exit_code in (0, 78), (trial, done.stderr)
        assert "panicked" not in done.stderr, done.stderr


def unbounded() -> tuple[list, dict[str, object]]:
    """1 / (amount - 495,000), which is infinite for one amount of the traffic."""
    difference = helper.make_node("Sub", ["x", "c"], ["d"])
    return [difference, helper.make_node("Reciprocal", ["d"], ["score"])], {"c": [495_000]}


def looked_up() -> tuple[list, dict[str, object]]:
    """Look the amount up in a table of two lines, which has none for any amount of the traffic."""
    index = helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64)
    return [index, helper.make_node("Gather", ["table", "i"], ["score"])], {"table": [0.1, 0.2]}


@pytest.mark.parametrize(("graph", "largest"), [(unbounded, {495_000}), (looked_up, None)])
def test_a_score_that_cannot_be_computed_later_counts_as_the_largest(
    tmp_path: Path, graph: Callable, largest: set[int] | None
) -> None:
    model = save(tmp_path / "m.onnx", *graph(), **ONE)
    done = decide(write_events(tmp_path / "e.jsonl", 37, 400), "--onnx-model", model)
    found = [d["features"] for d in lines(done) if d["status"] != "withdrawn"]
    amounts = {f["amount"] for f in found if f["onnx_score"] == 2**63 - 1}
    assert amounts == (largest or {f["amount"] for f in found})
    assert len(found) > 300


def test_the_example_of_the_documentation_works(tmp_path: Path) -> None:
    text = (ROOT / "docs/howto/onnx.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    [rule] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, check=True)
    (tmp_path / "rules.toml").write_text(HEAD + rule)
    events = write_events(tmp_path / "e.jsonl", 38, 300)
    done = decide(events, "--onnx-model", tmp_path / "model.onnx", "--rules", tmp_path / "rules.toml")
    assert len({d["features"]["onnx_score"] for d in lines(done)}) > 20


def replay(database: Database, *flags: object, exit_code: int = 0) -> Result:
    done = run(
        "invoice_consumer", "replay", "--decisions", database.url(), *flags, env=database.env(), check=False
    )
    assert done.exit_code == exit_code, done.stderr
    return done


def test_scores_are_stored_and_a_replay_makes_them_again(
    kafka: Kafka, database: Database, tmp_path: Path
) -> None:
    topic = kafka.create_topic(f"{database.name}.invoices")
    model, other = network(tmp_path / "model.onnx"), logistic(tmp_path / "other.onnx")
    rules = tmp_path / "rules.toml"
    rules.write_text(ON_SCORE)
    flags = ("--rules", rules, "--onnx-model", model)
    messages = traffic(39, 2400)
    # A restart in between: its state comes from the decisions, its scores from the same file.
    kafka.produce(topic, messages[:1500])
    consume(kafka, database, topic, *flags)
    kafka.produce(topic, messages[1500:])
    consume(kafka, database, topic, *flags)
    whole = effects(database)["decisions"]

    events = tmp_path / "e.jsonl"
    events.write_bytes(b"".join(value + b"\n" for _, _, value in messages if value))
    at_once = [(d["invoice_id"], d["lsn"], d["score"], list(d["features"].values()))
               for d in lines(decide(events, *flags))]  # fmt: skip
    assert [(row[2], row[3], row[6], row[8]) for row in whole] == at_once

    by_name = database.sql("""
        select count(distinct value), count(*) from risk.decision_features where name = 'onnx_score'""")[0]
    assert by_name[0] > 100
    assert by_name[1] == len(whole)

    same = replay(database, "--onnx-model", model).result
    assert (same["decisions"], same["differences"], same["unchecked_scores"]) == (len(whole), 0, 0)
    for given in ((), ("--onnx-model", other)):
        done = replay(database, *given)
        assert (done.result["differences"], done.result["unchecked_scores"]) == (0, len(whole))
        assert "scores are taken as stored" in done.stderr
    explained = run("invoice_consumer", "--decisions", database.url(), "--explain", 1, env=database.env())
    assert "onnx_score" in explained.stderr

    # A restart without the model or with another one decides nothing again.
    rules.write_text(HEAD)
    before = effects(database)
    assert consume(kafka, database, topic, "--rules", rules).result["decisions"] == 0
    assert_same_effects(before, effects(database))

    database.sql("""
        update risk.decisions set features[cardinality(features)] = features[cardinality(features)] + 1
        where log_offset = 7""")
    assert "onnx_score" in replay(database, "--onnx-model", model, exit_code=65).stderr
