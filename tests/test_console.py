"""The console in a real browser: every page, the live feed, errors, an empty system, phone and dark."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api, add_business_indexes, add_invoices, decide, flags_for
from support.services import REPOSITORY, Database, Postgres, wait_until
from support.tasks import run

playwright = pytest.importorskip("playwright.sync_api", reason="Python's playwright is not installed")
CHROMIUM = shutil.which("chromium")
IMAGES = REPOSITORY / "docs" / "images"
RULES = [
    {"id": "self_invoice", "score": 60, "reason": "issuer and receiver are the same business"},
    {"id": "round_amount", "score": 22, "reason": "a round amount of 10,000 or more"},
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """One headless Chromium that asks nobody but us."""
    flags = [
        "--no-sandbox",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
    ]
    with playwright.sync_playwright() as tool:
        opened = tool.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def source(postgres: Postgres) -> Iterator[Database]:
    """Fill a year of invoices between real-looking businesses."""
    database = postgres.create_database()
    url, env = database.url(), database.env()
    sizes = ["--customers", 40, "--invoices", 6000, "--seed", 7, "--until", "2026-01-31", "--months", 12]
    run("populate_tables", "--source", url, *sizes, env=env)
    add_business_indexes(database)
    database.sql("update invoices set receiver_id = issuer_id, amount_usd = 20000 where invoice_id = 10")
    decide(database, 10, 1, "block", 82, RULES)
    decide(database, 11, 2, "approve", 4, [])
    decide(
        database,
        12,
        3,
        "review",
        55,
        [{"id": "velocity", "score": 55, "reason": "9 invoices within an hour"}],
    )
    yield database
    database.drop()


@pytest.fixture(scope="module")
def api(source: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API on that database and its lake."""
    folder = tmp_path_factory.mktemp("console")
    window = ["--lake", f"file://{folder}/lake", "--as-of", "2026-01-31", "--months", 12]
    run("query_source", "--source", source.url(), *window, env=source.env())
    run("aggregate_by_business", *window)
    run("write_partitioned_parquet", *window)
    with Api(flags_for(source, folder / "lake"), source.env(), folder) as running:
        yield running


class Page:
    """A page that fails the test when the browser complains or asks another host."""

    def __init__(self, browser, api: Api, **options) -> None:
        """Open an empty tab."""
        self.context = browser.new_context(viewport={"width": 1100, "height": 800}, **options)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(15_000)
        self.home = f"http://127.0.0.1:{api.port}"
        self.complaints: list[str] = []
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", self._watch)

    def _watch(self, request) -> None:
        if not request.url.startswith((self.home, "data:")):
            self.complaints.append(f"asked {request.url}")

    def open(self, address: str, token: str | None = None):
        """Open an address of the console, signed in."""
        if token:
            self.tab.goto(f"{self.home}/#token={token}")
            self.tab.wait_for_selector("h1")
        self.tab.goto(f"{self.home}/{address}")
        return self.tab

    def picture(self, name: str) -> None:
        """Keep a screenshot where the documentation shows it."""
        if os.environ.get("PICTURES"):
            IMAGES.mkdir(parents=True, exist_ok=True)
            self.tab.wait_for_timeout(300)
            self.tab.screenshot(path=str(IMAGES / f"{name}.png"))

    def close(self) -> None:
        """Close and pass judgement."""
        self.context.close()
        assert not self.complaints, self.complaints


@pytest.fixture
def page(browser, api: Api) -> Iterator[Page]:
    """Give each test a tab of its own."""
    opened = Page(browser, api)
    yield opened
    opened.close()


def test_signing_in_is_asked_for_and_a_wrong_token_is_refused(page: Page, api: Api):
    tab = page.open("")
    tab.get_by_label("Token").fill("wrong")
    tab.get_by_role("button", name="Sign in").click()
    tab.get_by_role("link", name="Pipeline").click()
    assert "not valid" in tab.get_by_role("alert").inner_text()
    tab.get_by_label("Token").fill(api.token)
    tab.get_by_role("button", name="Sign in").click()
    tab.get_by_role("heading", name="Pipeline").wait_for()
    assert api.token not in tab.url


def test_an_invoice_is_found_with_the_keyboard_alone(page: Page, api: Api):
    tab = page.open("#/invoice", api.token)
    tab.keyboard.press("Tab")
    for _ in range(20):
        if tab.evaluate("document.activeElement.name") == "id":
            break
        tab.keyboard.press("Tab")
    tab.keyboard.type("10")
    tab.keyboard.press("Enter")
    tab.get_by_text("issuer and receiver are the same business").wait_for()
    assert tab.get_by_text("blocked").is_visible()
    assert tab.get_by_text("82 of 100").is_visible()
    page.picture("console-invoice")
    tab.get_by_role("link", name="business").first.click()
    tab.get_by_role("heading", name="Business", exact=True).wait_for()


def test_missing_and_wrong_ids_are_told(page: Page, api: Api):
    tab = page.open("#/invoice/999999999", api.token)
    tab.get_by_text("There is no invoice 999999999.").wait_for()
    page.open("#/invoice/99999999999999999999")
    tab.get_by_text("out of range").wait_for()
    page.picture("console-error")


def test_a_businesss_months_are_a_chart_and_a_table(page: Page, api: Api):
    tab = page.open("#/business/3/12", api.token)
    tab.locator(".chart canvas").wait_for()
    drawn = (
        "() => { const c = document.querySelector('.chart canvas');"
        " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v > 0); }"
    )
    tab.wait_for_function(drawn)
    assert tab.get_by_role("table").first.locator("tbody tr").count() == 12
    page.picture("console-business")


def test_the_live_feed_shows_what_is_inserted_and_obeys_its_filters(page: Page, api: Api, source: Database):
    tab = page.open("#/live", api.token)
    rows = tab.locator("tbody tr")
    wait_until(lambda: rows.count() >= 3, 10, "the latest decisions")
    add_invoices(source, 1, 900_001)
    source.sql("update invoices set receiver_id = issuer_id, amount_usd = 30000 where invoice_id = 900001")
    decide(source, 900_001, 100, "block", 82, RULES)
    tab.get_by_role("link", name="900001").wait_for()
    page.picture("console-live")
    tab.get_by_label("Status").select_option("approve")
    wait_until(lambda: rows.count() == 1, 10, "the filter")
    add_invoices(source, 2, 900_002)
    decide(source, 900_002, 101, "block", 91, RULES)
    decide(source, 900_003, 102, "approve", 1, [])
    tab.get_by_role("link", name="900003").wait_for()
    assert tab.get_by_role("link", name="900002").count() == 0
    tab.get_by_role("link", name="900003").click()
    tab.get_by_role("heading", name="Invoice 900003").wait_for()


def test_the_pipeline_tells_its_last_run_and_its_proof(page: Page, api: Api):
    tab = page.open("#/pipeline", api.token)
    tab.get_by_text("invoice_by_business").wait_for()
    assert tab.get_by_text("proven").count() >= 3
    page.picture("console-pipeline")


def test_a_service_that_went_away_is_told(page: Page, api: Api, source: Database, tmp_path: Path, browser):
    with Api(flags_for(source, tmp_path / "lake"), source.env(), tmp_path) as other:
        gone = Page(browser, other)
        tab = gone.open("#/invoice/10", other.token)
        tab.get_by_text("82 of 100").wait_for()
    tab.get_by_label("Invoice id").fill("11")
    tab.get_by_role("button", name="Find").click()
    tab.get_by_role("alert").wait_for()
    assert "can't be reached" in tab.get_by_role("alert").inner_text()
    gone.close()


def test_an_empty_system_says_what_to_do(browser, postgres: Postgres, tmp_path: Path):
    database = postgres.create_database()
    with Api(flags_for(database, tmp_path / "lake"), database.env(), tmp_path) as api:
        empty = Page(browser, api)
        tab = empty.open("#/pipeline", api.token)
        tab.get_by_text("The lake is empty.").wait_for()
        empty.open("#/business/1")
        tab.get_by_text("The lake has no month yet.").wait_for()
        empty.open("#/live")
        tab.get_by_text("Nothing has been decided yet.").wait_for()
        empty.picture("console-empty")
        empty.close()
    database.drop()


def test_it_fits_a_phone_and_the_dark(browser, api: Api):
    phone = {"width": 390, "height": 844}
    for address, name in [("#/invoice/10", "invoice"), ("#/business/3/12", "business"), ("#/live", "live"),
                          ("#/pipeline", "pipeline")]:  # fmt: skip
        tab_of = Page(browser, api, color_scheme="dark")
        tab_of.tab.set_viewport_size(phone)
        tab = tab_of.open(address, api.token)
        tab.wait_for_selector("main .card")
        tab.wait_for_timeout(300)
        wide = tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{name} is {wide} px too wide"
        background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert sum(int(part) for part in background[4:-1].split(",")) < 150
        tab_of.picture(f"console-{name}-phone-dark")
        tab_of.close()


def test_screen_readers_find_names_and_landmarks(page: Page, api: Api):
    for address in ("#/invoice/10", "#/live", "#/business/3", "#/pipeline"):
        tab = page.open(address, api.token)
        tab.wait_for_selector("main .card, main .note", state="attached")
        nameless = tab.evaluate(
            "() => [...document.querySelectorAll('input,select,button,a,meter,canvas')].filter((e) =>"
            " !e.closest('[role=img]') && !(e.labels?.length || e.textContent.trim() || e.ariaLabel))"
            ".map((e) => e.outerHTML)"
        )
        assert nameless == [], address
        assert tab.locator("main h1").count() == 1
        assert tab.get_by_role("navigation", name="Pages").count() == 1
        assert tab.locator("nav [aria-current=page]").count() == 1
