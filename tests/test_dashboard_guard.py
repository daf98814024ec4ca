"""Who may ask the dashboard: a browser at this machine, no page of another site; and whose code is run for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.dashboard import serving
from tests.small_line import ROOT
from tests.toy_work import Toy, make_work
from trainers.arithmetic.check import Asked, compare

EVIL = "evil.example"
TRAPS = ("secrets", "dashboard", "streamlit", "json", "random", "torch", "gaitforge", "typing")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard whose user has turned Streamlit's own guard off for other apps of theirs."""
    work = make_work(tmp_path_factory.mktemp("guarded") / "work", Toy(trials=4, running=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMLIT_SERVER_ENABLE_CORS", "false")
        with serving(work.root) as (address, _):
            yield address


def asked(address: str, *lines: str) -> str:
    """The status line of the server's answer to a raw request."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), timeout=120) as connection:
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        with connection.makefile("rb") as answer:
            return answer.readline().decode().strip()


def upgraded(address: str, host: str, origin: str | None) -> bool:
    """Tell whether a WebSocket is opened for who asks by that name from a page of that origin."""
    told = [] if origin is None else [f"Origin: http://{origin}"]
    status = asked(
        address, "GET /_stcore/stream HTTP/1.1", f"Host: {host}", *told, "Upgrade: websocket",
        "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )  # fmt: skip
    assert status.split()[1] in ("101", "403"), status
    return status.split()[1] == "101"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_browser_on_this_machine_is_answered_by_either_name(address: str, name: str) -> None:
    port = urlsplit(address).port
    assert upgraded(address, f"{name}:{port}", f"{name}:{port}")


@pytest.mark.slow
def test_a_page_of_another_site_that_took_our_address_is_refused(address: str) -> None:
    port = urlsplit(address).port
    assert not upgraded(address, f"{EVIL}:{port}", f"{EVIL}:{port}")
    assert not upgraded(address, EVIL, EVIL)
    assert not upgraded(address, f"{EVIL}:{port}", None)
    assert not upgraded(address, f"localhost.{EVIL}:{port}", f"localhost.{EVIL}:{port}")


@pytest.mark.slow
def test_a_page_of_another_site_that_asks_by_our_name_is_refused(address: str) -> None:
    port = urlsplit(address).port
    assert not upgraded(address, f"127.0.0.1:{port}", EVIL)
    assert not upgraded(address, f"localhost:{port}", f"{EVIL}:{port}")


def test_every_python_that_we_start_leaves_the_current_folder_out() -> None:
    """A module that is named to Python by -m is looked for in the current folder first, but for -P."""
    starts = [
        (path.relative_to(ROOT), number)
        for folder in ("platform", "trainers", "dashboard", "search_spaces")
        for path in (ROOT / folder).rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "sys.executable" in line and '"-m"' in line and '"-P", "-m"' not in line
    ]
    assert starts == []


@pytest.mark.slow
def test_code_in_the_current_folder_is_not_run_by_the_dashboard(tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", Toy(trials=4, running=0))
    here = lay_traps(tmp_path / "here")
    with serving(work.root, current=here) as (address, _):
        assert upgraded(address, urlsplit(address).netloc, None)
    assert sprung(here) == []


@pytest.mark.slow
def test_code_in_the_current_folder_is_not_run_by_the_comparison_of_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = lay_traps(tmp_path / "here")
    monkeypatch.chdir(here)
    assert not compare(Asked.typical("tcn"), 1).died
    assert sprung(here) == []


def lay_traps(folder: Path) -> Path:
    """A folder with modules that leave a file behind when they are run."""
    folder.mkdir()
    for name in TRAPS:
        (folder / f"{name}.py").write_text(f"open({str(folder / name)!r} + '.ran', 'w').close()\n")
    return folder


def sprung(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.ran"))
