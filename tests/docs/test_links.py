"""Every link to a file of this project leads somewhere, and no page is a dead end.

Sphinx checks the links of the site, with their anchors, when it builds it with warnings as errors.
These tests are for a reader of the repository, and need no Sphinx.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.page import ROOT

FOLDERS = ("docs", ".github")
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(p for name in FOLDERS for p in (ROOT / name).rglob("*.md") if "_build" not in p.parts),
    ]
)
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
NOT_PAGES = ("docs/upstream", "docs/figures")
SITE = [name for name in NAMES if name.startswith("docs/") and not name.startswith(NOT_PAGES)]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def links(path: Path) -> Iterator[str]:
    """The targets of a page's links, without those inside code."""
    for match in LINK.finditer(FENCED.sub("", path.read_text())):
        yield match["target"]


@pytest.mark.parametrize("name", NAMES)
def test_links_to_files_lead_somewhere(name: str) -> None:
    path = ROOT / name
    local = [each.partition("#")[0] for each in links(path) if "://" not in each]

    assert [each for each in local if each and not (path.parent / each).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_links_to_the_outside_are_encrypted(name: str) -> None:
    assert [each for each in links(ROOT / name) if each.startswith("http://")] == []


def test_the_readme_has_no_directives_which_only_the_site_understands() -> None:
    assert re.findall(r"^(?:```|:::)\{.*", (ROOT / "README.md").read_text(), re.MULTILINE) == []


def test_every_link_of_the_readme_is_absolute() -> None:
    # It is shown on the package index too, where a relative link leads nowhere.
    relative = [
        each for each in links(ROOT / "README.md") if not each.startswith(("https://", "#"))
    ]

    assert relative == []


@pytest.mark.parametrize("name", NAMES)
def test_links_to_this_projects_site_and_repository_lead_to_a_file(name: str) -> None:
    assert [each for each in links(ROOT / name) if is_lost(each.partition("#")[0])] == []


def is_lost(target: str) -> bool:
    """Whether a link to the site or the repository names a file that this checkout lacks."""
    site, files = URLS["Documentation"], URLS["Repository"] + "/blob/main/"
    if target.startswith(site):
        page = target.removeprefix(site).replace(".html", ".md")
        return not (ROOT / "docs" / (page or "index.md")).exists()
    return target.startswith(files) and not (ROOT / target.removeprefix(files)).exists()


def test_every_example_is_linked_from_the_page_of_examples() -> None:
    linked = {each.rpartition("/")[2] for each in links(ROOT / "docs" / "examples.md")}
    there = {each.name for each in (ROOT / "examples").iterdir() if each.name != "__pycache__"}

    assert there - linked == set()


@pytest.mark.parametrize("name", SITE)
def test_no_page_is_a_dead_end(name: str) -> None:
    text = re.sub(r"```\{toctree\}.*?```", "", (ROOT / name).read_text(), flags=re.DOTALL)
    end = text.strip().splitlines()[-12:]

    assert LINK.search("\n".join(end)), "let the page end with a link to the next step"
