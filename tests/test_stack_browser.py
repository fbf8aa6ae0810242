"""A person in front of Airflow's pages: log in, start the DAG with its form, read a log, see the lake.

The screenshots of the README are made here, when SCREENSHOTS names the folder they go to.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.engine import docker
from support.stack import BUCKET, DAG, Stack, wait_until

# As root in a container Chromium has no sandbox of its own; the rest keeps it from calling home.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECONDS = 1000


@pytest.fixture
def page(tmp_path: Path) -> Iterator:
    """A page of a headless browser; skipped, in plain sight, where none can be had."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("NO BROWSER: chromium isn't installed, so nobody has looked at Airflow's pages")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        page.set_default_timeout(30 * SECONDS)
        yield page
        browser.close()


@pytest.fixture
def shot(page, tmp_path: Path) -> Callable[[str], None]:
    """Take a screenshot by that name."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    return lambda name: page.screenshot(path=folder / f"{name}.png")


def log_in(page, stack: Stack) -> None:
    """Log in to Airflow as the admin."""
    page.goto(stack.airflow_url)
    page.fill("input[name=username]", stack.env["AIRFLOW_ADMIN_USER"])
    page.fill("input[name=password]", stack.env["AIRFLOW_ADMIN_PASSWORD"])
    page.keyboard.press("Enter")
    page.get_by_text("Dags", exact=True).first.wait_for()


def test_a_person_runs_the_dag_and_sees_the_lake(stack: Stack, page, shot: Callable) -> None:
    stack.empty_lake()
    stack.api("PATCH", f"/dags/{DAG}", {"is_paused": True})

    log_in(page, stack)
    page.goto(f"{stack.airflow_url}/dags")
    page.get_by_text(DAG).first.wait_for()
    page.get_by_text("dag_invoice_backfill").first.wait_for()
    page.wait_for_load_state("networkidle")
    assert page.get_by_text(re.compile("import error", re.IGNORECASE)).count() == 0
    shot("airflow-dags")

    page.goto(f"{stack.airflow_url}/dags/{DAG}")
    # The switch is drawn over its checkbox, which is what a click on the label changes.
    page.locator("input[type=checkbox]").first.locator("xpath=..").click()
    wait_until(lambda: stack.api("GET", f"/dags/{DAG}")["is_paused"] is False, 20, "the unpaused DAG")

    page.get_by_role("button", name="Trigger").first.click()
    page.locator("#element_as_of").fill("2026-01-25")
    months = page.locator("input[name=element_months]")
    months.fill("6")
    months.press("Tab")
    page.wait_for_timeout(1 * SECONDS)
    shot("airflow-form")
    before = {run["dag_run_id"] for run in stack.runs(DAG)}
    page.get_by_role("button", name="Trigger", exact=True).last.click()

    def new_runs() -> list[dict]:
        return [
            run for run in stack.runs(DAG) if run["dag_run_id"] not in before and run["run_type"] == "manual"
        ]

    wait_until(new_runs, 30, "the run that the form started")
    run = new_runs()[0]
    assert run["conf"]["as_of"] == "2026-01-25"
    assert run["conf"]["months"] == 6
    stack.finish(DAG, run["dag_run_id"])

    page.goto(f"{stack.airflow_url}/dags/{DAG}/runs/{run['dag_run_id']}")
    page.get_by_text("Success").first.wait_for()
    page.wait_for_load_state("networkidle")
    shot("airflow-run")

    page.goto(f"{stack.airflow_url}/dags/{DAG}/runs/{run['dag_run_id']}/tasks/query_source_table")
    page.get_by_text(re.compile(r"done in .* months written 6")).first.wait_for()
    shot("airflow-log")

    page.goto(f"http://127.0.0.1:{stack.env['S3_CONSOLE_PORT']}/login")
    page.fill("input#accessKey", stack.env["S3_ACCESS_KEY"])
    page.fill("input#secretKey", stack.env["S3_SECRET_KEY"])
    page.keyboard.press("Enter")
    page.get_by_text(BUCKET).first.wait_for()
    page.get_by_role("button", name="Acknowledge").click()
    page.goto(f"http://127.0.0.1:{stack.env['S3_CONSOLE_PORT']}/browser/{BUCKET}/invoice_by_business%2F")
    page.get_by_text("issue_date_yearmonth=2026-01-01").first.wait_for()
    shot("lake-partitions")


@pytest.mark.faults
def test_a_killed_container_fails_at_once_and_a_click_on_clear_mends_it(
    stack: Stack, page, shot: Callable
) -> None:
    stack.empty_lake()
    with stack.source_locked():
        run_id = stack.trigger(DAG, "2026-01-30")
        docker("kill", stack.wait_for_task_container(run_id))
        stack.finish(DAG, run_id, "failed")
    assert stack.tries(DAG, run_id)["query_source_table"] == 1

    log_in(page, stack)
    page.goto(f"{stack.airflow_url}/dags/{DAG}/runs/{run_id}/tasks/query_source_table")
    # The tasks after it, which failed with it, are chosen by themselves.
    page.get_by_role("button", name=re.compile("to clear|^Clear Task Instance")).first.click()
    page.get_by_text("Affected Tasks: 3").wait_for()
    shot("airflow-clear")
    page.get_by_role("button", name="Confirm").click()
    wait_until(lambda: stack.run_state(DAG, run_id) != "failed", 30, "the cleared run")
    stack.finish(DAG, run_id)
    assert stack.tries(DAG, run_id)["query_source_table"] == 2
    stack.verify("2026-01-30")
