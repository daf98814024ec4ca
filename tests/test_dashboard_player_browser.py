"""The moving stick figure and the downloads in a real browser."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from gaitforge.layout import LAYOUTS
from gaitforge.work import WorkFolder, read_json
from tests.test_dashboard_browser import CHROMIUM, CHROMIUM_FLAGS, PATIENCE_MS, serving
from tests.test_dashboard_student import exported
from tests.toy_work import Toy, make_work

JOINTS = LAYOUTS["kinect25"].joint_count

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed"),
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    toy = Toy(trials=8, running=0, stopped=0, failed=0)
    work = make_work(tmp_path_factory.mktemp("player") / "work", toy)
    exported(work, chosen(work))
    return work


@pytest.fixture(scope="module")
def address(work: WorkFolder) -> Iterator[str]:
    with serving(work.root) as address:
        yield f"{address}/student?trial={chosen(work)}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=CHROMIUM_FLAGS, timeout=PATIENCE_MS
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 2600})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.locator("svg.figure").wait_for(timeout=PATIENCE_MS)
    yield page
    page.close()


def chosen(work: WorkFolder) -> int:
    return int(read_json(work.run("people").confirm / "scores.json")["members"][0]["trial"])


def places(page: Page) -> list[list[str | None]]:
    """Where the joints that are seen are drawn."""
    joints: list[list[str | None]] = page.locator("svg.figure circle").evaluate_all(
        "all => all.filter(one => one.style.display !== 'none')"
        ".map(one => [one.getAttribute('cx'), one.getAttribute('cy')])"
    )
    return joints


def frame(page: Page) -> int:
    return int(page.get_by_role("slider", name="Frame").input_value())


def test_the_figure_moves_until_it_is_paused(page: Page) -> None:
    assert len(places(page)) == JOINTS - 1  # one is never seen
    expect(page.locator("svg.figure line.bone")).to_have_count(len(LAYOUTS["kinect25"].bones))
    before = page.locator(".player output").text_content()
    expect(page.locator(".player output")).not_to_have_text(str(before), timeout=PATIENCE_MS)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    still = places(page)
    page.wait_for_timeout(300)
    assert places(page) == still


def test_keys_scrub_and_turn_it(page: Page) -> None:
    page.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Space")
    slider = page.get_by_role("slider", name="Frame")
    slider.press("Home")
    assert frame(page) == 0
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    assert frame(page) == 2
    expect(page.locator(".player output")).to_have_text("0.08 of 0.44 s")
    before = places(page)
    figure = page.get_by_role("img", name="The recording as a moving stick figure")
    figure.press("ArrowRight")
    turned = places(page)
    assert [x for x, _ in turned] != [x for x, _ in before]
    assert [y for _, y in turned] == [y for _, y in before]
    figure.press("ArrowLeft")
    figure.press(".")
    assert frame(page) == 3


def test_views_and_a_drag_turn_it(page: Page) -> None:
    page.get_by_role("button", name="Pause").click()
    views = {}
    for name in ("Front", "Side", "Back"):
        page.get_by_role("button", name=name).click()
        views[name] = places(page)
    across = {name: [round(float(x or 0), 6) for x, _ in seen] for name, seen in views.items()}
    assert across["Back"] == [-x for x in across["Front"]]
    assert across["Side"] != across["Front"]
    box = page.locator("svg.figure").bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1])
    page.mouse.up()
    assert places(page) != views["Back"]
    page.mouse.move(middle[0] + 120, middle[1])
    dropped = places(page)
    page.mouse.move(middle[0], middle[1])
    assert places(page) == dropped


def test_who_prefers_less_motion_gets_a_figure_that_waits(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 2600}, reduced_motion="reduce")
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.locator("svg.figure circle").first.wait_for(timeout=PATIENCE_MS)
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    still = places(page)
    page.wait_for_timeout(300)
    assert places(page) == still
    page.close()


def test_another_recording_takes_the_place_of_the_first_and_stays_paused(
    page: Page,
) -> None:
    page.get_by_role("button", name="Pause").click()
    choose_another(page, str(places(page)[-1][0]))
    expect(page.locator("svg.figure circle")).to_have_count(JOINTS)
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()


def test_downloads_are_the_files_of_the_export(
    page: Page, work: WorkFolder, tmp_path: Path
) -> None:
    for label, name in [
        ("ONNX", "student.onnx"),
        ("Weights", "student.safetensors"),
        ("Card", "card.md"),
    ]:
        with page.expect_download(timeout=PATIENCE_MS) as download:
            page.get_by_role("button", name=label).click()
        saved = tmp_path / name
        download.value.save_as(saved)
        assert digest(saved) == digest(work.export / name)
        assert download.value.suggested_filename.startswith(f"trial-{chosen(work)}")


def choose_another(page: Page, x: str) -> None:
    """Choose the tenth recording until a joint has left `x`.

    A page that runs just then, as it does every two seconds, may drop a choice on a busy machine.
    """
    joint = page.locator("svg.figure circle").last
    for left in reversed(range(60)):
        page.locator("[data-test-script-state=notRunning]").wait_for()
        page.locator(".st-key-recording input").click()
        page.get_by_role("option").nth(9).click()
        try:
            expect(joint).not_to_have_attribute("cx", x, timeout=PATIENCE_MS / 60)
            return
        except AssertionError:
            if not left:
                raise


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
