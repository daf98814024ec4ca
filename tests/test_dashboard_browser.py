"""The dashboard in a real browser: what AppTest cannot see (charts, clicks, the clock)."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from gaitforge.work import WorkFolder, read_json, write_json
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
PATIENCE_MS = 20_000

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 2900})
    yield page
    page.close()


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    return make_work(tmp_path_factory.mktemp("full") / "work")


@pytest.fixture(scope="module")
def address(toy: WorkFolder) -> Iterator[str]:
    with serving(toy.root) as address:
        yield address


def test_page_shows_the_sentence_and_charts_without_an_error(
    page: Page, address: str, toy: WorkFolder, tmp_path: Path
) -> None:
    foreign: list[str] = []
    page.on("request", lambda r: foreign.append(r.url) if address not in r.url else None)
    open_page(page, address)
    sentence = read_json(toy.run("people").confirm / "scores.json")["sentence"]
    expect(page.locator(".st-key-answer")).to_have_text(sentence)
    expect(page.locator("[data-testid=stVegaLiteChart] svg")).to_have_count(10)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    page.screenshot(path=tmp_path / "dashboard.png")
    assert (tmp_path / "dashboard.png").stat().st_size > 50_000
    assert [url for url in foreign if not url.startswith(("data:", "blob:"))] == []


def test_a_click_in_either_chart_chooses_that_trial_again_and_again(
    page: Page, address: str, toy: WorkFolder
) -> None:
    open_page(page, address)
    front = read_json(toy.run("people").search / "front.json")["front"]
    members = read_json(toy.run("people").confirm / "scores.json")["members"]
    heading = page.get_by_role("heading", level=2).last
    for name, number in [
        ("searched", front[0]["trial"]),
        ("searched", front[1]["trial"]),
        ("confirmed", members[0]["trial"]),
        ("searched", front[1]["trial"]),
    ]:
        point(page, name, f"Trial {number}").click()
        expect(heading).to_have_text(f"Trial {number}", timeout=PATIENCE_MS)
        settle(page)
    choose_in_list(page, "Teacher,")
    expect(heading).to_have_text("Teacher", timeout=PATIENCE_MS)
    settle(page)
    point(page, "searched", f"Trial {front[1]['trial']}").click()
    expect(heading).to_have_text(f"Trial {front[1]['trial']}", timeout=PATIENCE_MS)


def test_a_click_in_the_table_chooses_and_the_table_follows_the_charts(
    page: Page, address: str, toy: WorkFolder
) -> None:
    open_page(page, address)
    heading = page.get_by_role("heading", level=2).last
    table = page.locator(".st-key-trials [data-testid=stDataFrame]")
    front = read_json(toy.run("people").search / "front.json")["front"]
    by_score = sorted(front, key=lambda member: -member["val_macro_f1"])
    for row in (2, 1, 2, 2):
        # The rows are painted on a canvas: 35 pixels each below a header of the same height.
        table.click(position={"x": 15, "y": 35 * (row + 1) + 17})
        expect(heading).to_have_text(f"Trial {by_score[row]['trial']}", timeout=PATIENCE_MS)
        settle(page)
    before = table.screenshot()
    point(page, "searched", f"Trial {by_score[4]['trial']}").click()
    expect(heading).to_have_text(f"Trial {by_score[4]['trial']}", timeout=PATIENCE_MS)
    settle(page)
    assert table.screenshot() != before


def test_hovering_over_a_student_tells_what_it_is(
    page: Page, address: str, toy: WorkFolder
) -> None:
    open_page(page, address)
    first = read_json(toy.run("people").search / "front.json")["front"][0]
    point(page, "searched", f"Trial {first['trial']}").hover()
    tooltip = page.locator("#vg-tooltip-element")
    expect(tooltip).to_contain_text(f"Trial {first['trial']}, {first['family']}")
    expect(tooltip).to_contain_text(f"{first['params']:,}")


def test_text_from_files_is_shown_as_text(page: Page, tmp_path: Path) -> None:
    nasty = '<img src=x onerror="document.title=1">'
    toy = Toy(classes=(nasty, "**bold**"), trials=4, running=1, stopped=0, failed=0)
    work = make_work(tmp_path / "work", toy)
    for path in work.run("people").trials.iterdir():
        write_json(path, {**read_json(path), "family": f"**bold** {nasty}"})
    with serving(work.root) as address:
        open_page(page, address)
        expect(page.locator(".st-key-place")).to_contain_text(f"**bold**, {nasty}")
        point(page, "searched", "Trial 0").hover()
        expect(page.locator("#vg-tooltip-element")).to_contain_text(f"**bold** {nasty}")
        page.locator(".st-key-model input").click()
        option = page.get_by_role("option").filter(has_text="Trial 0,")
        expect(option).to_contain_text(f"**bold** {nasty}")
        assert page.locator("img[src=x]").count() == 0
        assert page.title() == "gaitforge"


def test_page_follows_a_search_that_is_being_written(page: Page, tmp_path: Path) -> None:
    work, toy = WorkFolder(tmp_path / "work"), Toy(trials=3, running=1, stopped=0, failed=0)
    with serving(work.root) as address:
        page.goto(address)
        expect(page.get_by_text("There is no such folder")).to_be_visible(timeout=PATIENCE_MS)
        make_store(work, toy)
        expect(page.get_by_text("there is no split yet")).to_be_visible(timeout=PATIENCE_MS)
        make_split(work, toy)
        make_teacher(work, toy)
        expect(page.get_by_text("search has not been started")).to_be_visible(timeout=PATIENCE_MS)
        make_search(work, toy)
        expect(page.get_by_text(re.compile("2 of 60 trials have ended, 1 running"))).to_be_visible(
            timeout=PATIENCE_MS
        )
        choose_in_list(page, "Trial 0,")
        rng = np.random.default_rng(5)
        for number in range(10, 14):
            make_trial(work, toy, rng, number=number, state="finished")
        expect(page.get_by_text("6 finished trials")).to_be_visible(timeout=PATIENCE_MS)
        expect(page.get_by_role("heading", level=2).last).to_have_text("Trial 0")
        page.reload()
        expect(page.get_by_text("6 finished trials")).to_be_visible(timeout=PATIENCE_MS)


@contextmanager
def serving(
    work: Path, app: str = "dashboard/app.py", arguments: Sequence[str] = ()
) -> Iterator[str]:
    """The dashboard on `work`, served from this machine to this machine; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = {
        "server.address": "127.0.0.1",
        "server.port": str(port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "full",
        "client.toolbarMode": "minimal",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", app]
        + [word for name, value in flags.items() for word in (f"--{name}", value)]
        + ["--", str(work), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/_stcore/health")
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)


def wait_for(url: str, patience_s: float = 30.0) -> None:
    end = time.monotonic() + patience_s
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def open_page(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("[data-testid=stVegaLiteChart] svg").nth(5).wait_for(timeout=PATIENCE_MS)
    settle(page)


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
