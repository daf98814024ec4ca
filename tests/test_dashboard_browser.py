"""The dashboard in a real browser: what AppTest cannot see (charts, clicks, the clock)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from benchmarks.dashboard import serving as served
from gaitforge.work import WorkFolder, read_json, write_json
from tests.small_line import PATIENCE_S
from tests.toy_work import (
    Toy,
    make_search,
    make_split,
    make_store,
    make_teacher,
    make_trial,
    make_work,
)

ROOT = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = PATIENCE_S * 1000
expect.set_options(timeout=PATIENCE_MS)
DRAGGED = re.compile(r"The \d+ that the drag in the chart chose")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=CHROMIUM_FLAGS, timeout=PATIENCE_MS
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    # with less motion the stick figure waits, and a page comes to rest (see settle)
    page = browser.new_page(viewport={"width": 1400, "height": 2900}, reduced_motion="reduce")
    page.set_default_timeout(PATIENCE_MS)
    yield page
    page.close()


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    return make_work(tmp_path_factory.mktemp("full") / "work")


@pytest.fixture(scope="module")
def address(toy: WorkFolder) -> Iterator[str]:
    with serving(toy.root) as address:
        yield address


def test_the_first_page_shows_the_answer_without_an_error_and_asks_nobody_else(
    page: Page, address: str, toy: WorkFolder
) -> None:
    foreign: list[str] = []
    page.on("request", lambda r: foreign.append(r.url) if address not in r.url else None)
    open_page(page, address, charts=2)
    chosen = read_json(toy.run("people").confirm / "scores.json")["chosen"]
    expect(page.locator(".st-key-word")).to_have_text("Ship")
    expect(page.locator(".st-key-sentence")).to_contain_text(f"Trial {chosen}, with ")
    expect(page.locator("[class*=st-key-reason_]")).to_have_count(10)
    # the marks are told apart by colour as well
    mark = page.locator("[class*=st-key-reason_good] [data-testid=stText]").first
    expect(mark).to_have_css("color", "rgb(47, 157, 132)")
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    for name in ("Trade-off", "Why", "Student", "Compare", "Store"):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page).to_have_url(re.compile(f"/{name.lower()}"), timeout=PATIENCE_MS)
        settle(page)
        expect(page.locator("[data-testid=stException]")).to_have_count(0)
    assert [url for url in foreign if not url.startswith(("data:", "blob:"))] == []


def test_the_first_page_is_found_by_its_name_as_the_others_are(page: Page, address: str) -> None:
    open_page(page, f"{address}/overview", charts=2)
    expect(page.get_by_text("Page not found")).to_have_count(0)


def test_a_click_in_either_chart_chooses_that_trial_again_and_again(
    page: Page, address: str, toy: WorkFolder
) -> None:
    open_page(page, f"{address}/trade-off")
    front = read_json(toy.run("people").search / "front.json")["front"]
    members = read_json(toy.run("people").confirm / "scores.json")["members"]
    for name, number in [
        ("searched", front[0]["trial"]),
        ("searched", front[1]["trial"]),
        ("confirmed", members[0]["trial"]),
        ("searched", front[1]["trial"]),
    ]:
        point(page, name, f"Trial {number}").click()
        expect_chosen(page, number)
        settle(page)
    page.get_by_role("link", name="Student", exact=True).click()
    heading = page.get_by_role("heading", level=2).last
    expect(heading).to_have_text(f"Trial {front[1]['trial']}", timeout=PATIENCE_MS)
    settle(page)
    choose_in_list(page, "Teacher,")
    expect(heading).to_have_text("Teacher", timeout=PATIENCE_MS)
    expect_chosen(page, -1)


def test_a_click_in_the_table_chooses_and_the_table_follows_the_charts(
    page: Page, address: str, toy: WorkFolder
) -> None:
    open_page(page, f"{address}/trade-off")
    table = page.locator(".st-key-trials [data-testid=stDataFrame]")
    front = read_json(toy.run("people").search / "front.json")["front"]
    by_score = sorted(front, key=lambda member: -member["val_macro_f1"])
    for row in (2, 1, 2, 2):
        # The rows are painted on a canvas: 35 pixels each below a header of the same height.
        table.click(position={"x": 15, "y": 35 * (row + 1) + 17})
        expect_chosen(page, by_score[row]["trial"])
        settle(page)
    before = table.screenshot()
    point(page, "searched", f"Trial {by_score[4]['trial']}").click()
    expect_chosen(page, by_score[4]["trial"])
    settle(page)
    assert table.screenshot() != before


def test_a_drag_chooses_several_and_the_table_shows_them_alone(page: Page, address: str) -> None:
    open_page(page, f"{address}/trade-off")
    drag(page)
    expect(page.get_by_text(DRAGGED)).to_be_visible(timeout=PATIENCE_MS)


def test_hovering_over_a_student_tells_what_it_is(
    page: Page, address: str, toy: WorkFolder
) -> None:
    open_page(page, f"{address}/trade-off")
    first = read_json(toy.run("people").search / "front.json")["front"][0]
    point(page, "searched", f"Trial {first['trial']}").hover()
    tooltip = page.locator("#vg-tooltip-element")
    expect(tooltip).to_contain_text(f"Trial {first['trial']}, {first['family']}")
    expect(tooltip).to_contain_text(f"{first['params']:,}")


def test_sliders_move_the_answer_its_mark_and_the_url_by_keyboard(
    page: Page, address: str
) -> None:
    open_page(page, f"{address}/trade-off?loss=0")
    answer = page.locator(".st-key-answer")
    expect(answer).to_contain_text("within 0 points")
    mark = page.locator("[class*=st-key-confirmed_] svg text").filter(has_text=": the answer")
    expect(mark).to_have_count(0)
    slider(page, "loss").press("End")
    expect(answer).to_contain_text("shown to lose less than 20 points", timeout=PATIENCE_MS)
    expect(mark).to_have_count(1)
    expect(page).to_have_url(re.compile("loss=20"))
    settle(page)  # a note below the answer comes with the next run
    before = answer.inner_text()
    slider(page, "budget").press("Home")
    expect(answer).not_to_have_text(before, timeout=PATIENCE_MS)
    expect(page).to_have_url(re.compile("budget="))


def test_a_deep_link_restores_page_trial_and_filters(
    browser: Browser, page: Page, address: str, toy: WorkFolder
) -> None:
    members = read_json(toy.run("people").confirm / "scores.json")["members"]
    number = members[0]["trial"]
    open_page(page, f"{address}/trade-off?trial={number}&measure=accuracy&x=macs&loss=7.5")
    expect(page.get_by_label("Accuracy by", exact=True)).to_have_value("Accuracy")
    expect(slider(page, "loss")).to_have_value("7.5")
    ring = page.locator("[class*=st-key-searched_] svg text").filter(has_text=f"trial {number}")
    expect(ring).to_have_count(1)
    link = page.url
    page.get_by_role("link", name="Student", exact=True).click()
    heading = page.get_by_role("heading", level=2).last
    expect(heading).to_have_text(f"Trial {number}", timeout=PATIENCE_MS)
    settle(page)
    # the same in a window of its own
    other = browser.new_page(reduced_motion="reduce")
    other.set_default_timeout(PATIENCE_MS)
    open_page(other, link)
    assert other.url == link
    other.close()


def test_a_chart_is_saved_as_svg(page: Page, address: str) -> None:
    open_page(page, f"{address}/trade-off")
    page.get_by_text("Save a chart as SVG").click()
    button = page.get_by_role("button", name=re.compile("searched models"))
    with page.expect_download() as download:
        button.click()
    assert download.value.suggested_filename.endswith(".svg")
    drawing = ElementTree.parse(download.value.path()).getroot()
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert "searched models" in (drawing.get("aria-label") or "")


def test_text_from_files_is_shown_as_text(page: Page, tmp_path: Path) -> None:
    nasty = '<img src=x onerror="document.title=1">'
    toy = Toy(classes=(nasty, "**bold**"), trials=6, running=1, stopped=0, failed=1)
    work = make_work(tmp_path / "work", toy)
    for path in work.run("people").trials.iterdir():
        trial = read_json(path)
        write_json(path, {**trial, "family": f"**bold** {nasty}"})
    broken = work.run("people").trials / "3.json"
    write_json(broken, {**read_json(broken), "state": "failed", "scores": None, "reason": nasty})
    with serving(work.root) as address:
        open_page(page, address, charts=2)
        expect(page.locator(".st-key-card_Data")).to_contain_text(f"**bold**, {nasty}")
        for name in ("Why", "Student", "Compare", "Store", "Trade-off"):
            page.get_by_role("link", name=name, exact=True).click()
            settle(page)
            assert page.locator("img[src=x]").count() == 0
        point(page, "searched", "Trial 0").hover()
        expect(page.locator("#vg-tooltip-element")).to_contain_text(f"**bold** {nasty}")
        page.get_by_role("link", name="Student", exact=True).click()
        settle(page)
        page.locator(".st-key-model input").click()
        option = page.get_by_role("option").filter(has_text="Trial 0,")
        expect(option).to_contain_text(f"**bold** {nasty}")
        assert page.locator("img[src=x]").count() == 0
        assert page.title() in ("gaitforge", "Student")


def test_pages_follow_a_search_that_is_being_written(page: Page, tmp_path: Path) -> None:
    work, toy = WorkFolder(tmp_path / "work"), Toy(trials=5, running=1, stopped=0, failed=0)
    with serving(work.root) as address:
        page.goto(address)
        expect(page.get_by_text("There is no such folder")).to_be_visible(timeout=PATIENCE_MS)
        make_store(work, toy)
        expect(page.get_by_text("there is no split yet")).to_be_visible(timeout=PATIENCE_MS)
        make_split(work, toy)
        make_teacher(work, toy)
        expect(page.get_by_text("search has not been started")).to_be_visible(timeout=PATIENCE_MS)
        make_search(work, toy)
        expect(page.get_by_text(re.compile("4 of 60 trials have ended, 1 running"))).to_be_visible(
            timeout=PATIENCE_MS
        )
        open_page(page, f"{address}/trade-off", charts=1)
        point(page, "searched", "Trial 2").click()
        expect_chosen(page, 2)
        slider(page, "loss").press("End")
        expect(page).to_have_url(re.compile("loss=20"), timeout=PATIENCE_MS)
        settle(page)
        drag(page)
        expect(page.get_by_text(DRAGGED)).to_be_visible(timeout=PATIENCE_MS)
        rng = np.random.default_rng(5)
        for number in range(10, 14):
            make_trial(work, toy, rng, number=number, state="finished")
        expect(page.get_by_text("8 finished trials")).to_be_visible(timeout=PATIENCE_MS)
        settle(page)
        expect_chosen(page, 2)
        expect(page.get_by_text(DRAGGED)).to_be_visible(timeout=PATIENCE_MS)
        ring = page.locator("[class*=st-key-searched_] svg text").filter(has_text="trial 2")
        expect(ring).to_have_count(1)
        expect(slider(page, "loss")).to_have_value("20")
        page.reload()
        expect(page.get_by_text("8 finished trials")).to_be_visible(timeout=PATIENCE_MS)
        expect_chosen(page, 2)
        expect(slider(page, "loss")).to_have_value("20")


@contextmanager
def serving(work: Path) -> Iterator[str]:
    """The dashboard on `work`, which shows its errors; yields its address."""
    with served(work, {"client.showErrorDetails": "full"}) as (address, _):
        yield address


def open_page(page: Page, address: str, charts: int = 3) -> None:
    page.goto(address)
    drawn = page.locator("[data-testid=stVegaLiteChart] svg.marks")
    drawn.nth(charts - 1).wait_for(timeout=PATIENCE_MS)
    settle(page)


def expect_chosen(page: Page, number: int) -> None:
    """The model in question is that of this number, which the URL says."""
    expect(page).to_have_url(re.compile(rf"[?&]trial={number}(&|$)"), timeout=PATIENCE_MS)


def drag(page: Page) -> None:
    """Draw a brush over most of the searched front."""
    box = page.locator("[class*=st-key-searched_] svg.marks").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 80, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 200, steps=6)
    page.mouse.up()


def slider(page: Page, key: str) -> Locator:
    return page.locator(f".st-key-{key} input[type=range]")


def settle(page: Page) -> None:
    """Wait until the script has ended and nothing moves: charts take their width late."""
    before, now = b"", page.screenshot()
    while before != now:
        page.wait_for_timeout(300)
        page.locator("[data-test-script-state=notRunning]").wait_for(timeout=PATIENCE_MS)
        before, now = now, page.screenshot()


def point(page: Page, chart: str, model: str) -> Locator:
    """The point of a model in one of the fronts; of a student's two, the distilled one is last."""
    return page.locator(f'[class*=st-key-{chart}_] path[aria-label*="Model: {model},"]').last


def choose_in_list(page: Page, text: str) -> None:
    page.locator(".st-key-model input").click()
    page.get_by_role("option").filter(has_text=re.compile(f"^{re.escape(text)}")).click()
