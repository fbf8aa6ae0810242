"""A person in front of Airflow's pages: log in, start the DAG with its form, read a log, see the lake.

The screenshots of the README are made here, when SCREENSHOTS names the folder they go to.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

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


def test_a_person_runs_the_dag_and_sees_the_lake(stack: Stack, page, tmp_path: Path) -> None:
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))

    def shot(name: str) -> None:
        page.screenshot(path=folder / f"{name}.png")

    stack.empty_lake()
    stack.api("PATCH", f"/dags/{DAG}", {"is_paused": True})

    page.goto(stack.airflow_url)
    page.fill("input[name=username]", stack.env["AIRFLOW_ADMIN_USER"])
    page.fill("input[name=password]", stack.env["AIRFLOW_ADMIN_PASSWORD"])
    page.keyboard.press("Enter")
    page.get_by_text("Dags", exact=True).first.wait_for()
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
