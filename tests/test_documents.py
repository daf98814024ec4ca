"""The documents: what is written from the code is as the code is, links lead somewhere, the README stays short."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from docs.make_reference import COMMAND, EVERY_KEY, REFERENCE, write_every_key, write_reference

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *PAGES]
README_BYTES = 12_000

every_document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def text_of(path: Path) -> str:
    """The document without its blocks of code."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """What a link may name after a #: GitHub and mkdocs agree where headings are words."""
    headings = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# what is written from the code


def test_the_reference_of_run_toml_is_as_the_settings_are() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == write_reference(), f"run `{COMMAND}`"


def test_the_example_of_every_key_is_as_the_settings_are() -> None:
    assert EVERY_KEY.read_text(encoding="utf-8") == write_every_key(), f"run `{COMMAND}`"


# where links lead


@every_document
def test_every_relative_link_leads_to_a_file_and_its_heading(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        if re.match(r"https?://|mailto:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_page_links_to_what_its_site_does_not_hold(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        assert not link.startswith("../"), link


def test_the_site_names_every_page_once() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = [page for entry in site["nav"] for page in pages_of(entry)]
    assert sorted(named) == [path.name for path in PAGES]


def pages_of(entry: object) -> list[str]:
    """The files of one entry of mkdocs.yml's nav: {title: file}, or {title: entries}."""
    assert isinstance(entry, dict)
    (inside,) = entry.values()
    return [inside] if isinstance(inside, str) else [p for item in inside for p in pages_of(item)]


# what leads through the code


def test_at_most_four_files_lead_from_the_teachers_outputs_to_a_loss() -> None:
    """Each with the functions, classes and tables on the way, which are its own."""
    text = (ROOT / "docs" / "line.md").read_text(encoding="utf-8")
    section = text.split("## From the teacher's outputs to a loss", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (.+) \|$", section, re.MULTILINE)
    assert 1 <= len(rows) <= 4
    for name, words in rows:
        source = (ROOT / name).read_text(encoding="utf-8")
        named = re.findall(r"`(\w+)`", words)
        assert named, name
        for its in named:
            assert re.search(rf"^ *(def|class) {its}\b|^{its}\b.* = ", source, re.MULTILINE), its


def test_what_leads_a_score_to_its_page_is_named_as_the_code_names_it() -> None:
    """Files, and of `View.results.confirm` each part: a class, and fields that one of these files declares."""
    text = (ROOT / "docs" / "dashboard.md").read_text(encoding="utf-8")
    (paragraph,) = re.findall(
        r"^A score of a confirmed student .*?\n$", text, re.MULTILINE | re.DOTALL
    )
    files = re.findall(r"`([\w/]+\.py)`", paragraph)
    names = re.findall(r"`(\w+(?:\.\w+)*)`", paragraph)
    assert files
    assert names
    source = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in files)
    for its in (part for name in names for part in name.split(".")):
        assert re.search(rf"^ *(def|class) {its}\b|^ +{its}: ", source, re.MULTILINE), its


# what is short, and what is said twice


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES


def test_who_cites_and_who_reads_changes_sees_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_what_runs_before_a_commit_is_make_check() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repository,) = hooks["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == ["make check"]
