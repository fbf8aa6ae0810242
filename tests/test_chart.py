"""The chart, rendered: valid for the API's own schemas, hardened, as open as the architecture's arrows."""

import json
import re
from typing import Any

import pytest
import yaml

from support.kubernetes import CHART, kubeconform, program, run, template
from support.services import REPOSITORY

ALL = [
    f"--set={part}.enabled=true"
    for part in (
        "batch", "consumer", "api", "api.ingress", "migrations", "connector", "monitoring",
        "secrets.externalSecrets",
    )
] + ["--set=monitoring.apiTokenSecret=token,secrets.externalSecrets.store=vault"]  # fmt: skip
OTHERS = ("ExternalSecret", "PodMonitor", "PrometheusRule")
CLOUDS = ("kind", "eks", "gke", "aks")


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    """Everything that the chart can make."""
    return template(*ALL)


def pod_specs(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the pods' specifications by the name of what makes them."""
    specs = {}
    for thing in objects:
        template = thing["spec"] if thing["kind"] in ("Deployment", "Job") else {}
        if thing["kind"] == "CronJob":
            template = thing["spec"]["jobTemplate"]["spec"]
        if template:
            specs[thing["metadata"]["name"]] = template["template"]["spec"]
    return specs


@pytest.mark.parametrize("cloud", CLOUDS)
def test_helm_lint_and_the_api_schemas_accept_every_file_of_values(cloud):
    values = f"--values={CHART}/values-{cloud}.yaml"
    run("helm", "lint", "--strict", CHART, values, *ALL)
    kubeconform(template(values, *ALL), *OTHERS)


def test_the_chart_alone_and_with_everything_is_valid(objects):
    run("helm", "lint", "--strict", CHART)
    kubeconform(template())
    kubeconform(objects, *OTHERS)


def test_a_mistyped_field_is_found(objects):
    text = json.dumps(objects).replace("terminationGracePeriodSeconds", "terminationGracePeriod")
    with pytest.raises(RuntimeError, match="'terminationGracePeriod' not allowed"):
        kubeconform(json.loads(text), *OTHERS)


def test_a_mistyped_value_is_refused_with_its_name():
    for flag, said in [
        ("batch.months=0", "/batch/months"),
        ("consumer.replica=3", "replica"),
        ("lake.url=my-lake", "/lake/url"),
    ]:
        with pytest.raises(RuntimeError, match=said):
            template("--set", flag)


def test_every_container_is_restricted_and_bounded(objects):
    specs = pod_specs(objects)
    assert len(specs) == 5
    for name, spec in specs.items():
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        assert all("hostPath" not in volume for volume in spec.get("volumes", [])), name
        for container in spec.get("initContainers", []) + spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
            assert not container["image"].endswith(":latest"), name


def test_services_have_probes_a_budget_and_a_graceful_end(objects):
    budgets = {thing["metadata"]["name"] for thing in objects if thing["kind"] == "PodDisruptionBudget"}
    deployments = [thing["metadata"]["name"] for thing in objects if thing["kind"] == "Deployment"]
    assert budgets == set(deployments) == {"invoice-api", "invoice-consumer"}
    for name in deployments:
        spec = pod_specs(objects)[name]
        assert spec["terminationGracePeriodSeconds"] >= 10, "a task ends within 10 s of SIGTERM"
        assert spec["containers"][0].keys() >= {"readinessProbe", "livenessProbe"}


def test_airflow_may_start_pods_and_nothing_more(objects):
    [role] = [thing for thing in objects if thing["kind"] == "Role"]
    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {
        "pods",
        "pods/log",
        "events",
    }
    assert not any(thing["kind"].startswith("Cluster") for thing in objects)


def test_network_policies_are_the_arrows_of_the_architecture(objects):
    policies = {t["metadata"]["name"]: t["spec"] for t in objects if t["kind"] == "NetworkPolicy"}
    assert policies["invoice-nothing-else"]["podSelector"] == {}
    ports = {name: [rule["ports"][0]["port"] for rule in spec["egress"]] for name, spec in policies.items()}
    assert ports == {
        "invoice-nothing-else": [53],
        "invoice-tasks-of-airflow": [5432, 443],
        "invoice-batch": [5432, 443],
        "invoice-consumer": [5432, 9092],
        "invoice-api": [5432, 443, 9092, 6379],
        "invoice-migrations": [5432],
        "invoice-connector": [8083],
    }
    asked = {name for name, spec in policies.items() if spec.get("ingress")}
    assert asked == {"invoice-consumer", "invoice-api"}
    # What the DAGs' pods are found by is a label that Airflow's operator sets.
    assert policies["invoice-tasks-of-airflow"]["podSelector"]["matchLabels"] == {
        "kubernetes_pod_operator": "True"
    }


def test_the_dags_names_are_the_charts():
    dags = (REPOSITORY / "airflow/dags/invoice_tasks.py").read_text()
    names = {thing["metadata"]["name"] for thing in template()}
    assert re.search(r'service_account_name="(.+)"', dags)[1] in names
    assert (
        yaml.safe_load((CHART / "values.yaml").read_text())["secrets"]["tasks"]
        == re.search(r'V1SecretEnvSource\(name="(.+)"\)', dags)[1]
    )


def test_every_alarm_leads_to_a_section_of_the_runbook(objects):
    page = (REPOSITORY / "docs/runbook/alarms.md").read_text()
    anchors = {
        re.sub(r"[^a-z0-9 ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^## (.+)$", page, re.MULTILINE)
    }
    [rule] = [thing for thing in objects if thing["kind"] == "PrometheusRule"]
    links = {
        alarm["annotations"]["runbook_url"].split("#")[1]
        for group in rule["spec"]["groups"]
        for alarm in group["rules"]
    }
    assert links == anchors - {"a-dag-is-red"}


def test_dashboards_and_alarms_ask_for_metrics_that_exist(objects):
    page = (REPOSITORY / "docs/reference/metrics.md").read_text()
    known = set(re.findall(r"(?:risk|invoice_api)_[a-z_]+", page))
    asked = set()
    for thing in objects:
        if thing["kind"] == "PrometheusRule" or thing["metadata"]["name"].endswith("-dashboard"):
            asked |= set(re.findall(r"\b(?:risk|invoice_api)_[a-z_]+", json.dumps(thing)))
    # A histogram's series are its name and these.
    asked = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}
    assert asked - known <= {"invoice_api_dashboard"}, asked - known


def test_the_table_of_values_in_the_docs_is_the_schemas():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    page = (REPOSITORY / "docs/reference/chart.md").read_text()
    expected = run_table(schema, values)
    assert expected in page, f"put this into docs/reference/chart.md:\n{expected}"


def run_table(schema: dict[str, Any], values: dict[str, Any], prefix: str = "") -> str:
    """Make the table's rows: name, default, what it is."""
    rows = []
    for name, described in schema["properties"].items():
        if name == "global":
            continue
        path, value = f"{prefix}{name}", values[name] if values and name in values else None
        if "properties" in described and name != "create":
            rows.append(run_table(described, value, f"{path}."))
        else:
            default = json.dumps(value, ensure_ascii=False) if value not in (None, "", {}, []) else ""
            default = f"`{default.strip(chr(34))}`" if default else ""
            rows.append(f"| `{path}` | {default} | {described['description']} |")
    return "\n".join(rows)


def test_the_programs_are_where_setup_puts_them():
    assert "v3." in run("helm", "version", "--short")
    assert program("kubeconform")
