"""Every block of code in the README and in the documentation does what the page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.docs.page import LANGUAGES, ROOT, Page
from tests.docs.surroundings import surroundings

DOCS = ROOT / "docs"
PAGES = sorted(
    [ROOT / "README.md", *(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)],
)
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
FENCE = re.compile(r"^(?P<fence>```+)(?P<info>[^`\n]*)$", re.MULTILINE)


@pytest.mark.skipif(sys.platform != "linux", reason="the pages show what Linux does")
@pytest.mark.timeout(150)
@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_the_examples_of_a_page_run(
    path: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with surroundings(path, tmp_path_factory) as variables:
        Page(path, tmp_path, variables).run()


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_no_block_of_a_page_is_overlooked(path: Path) -> None:
    opening = [match["info"] for match in FENCE.finditer(path.read_text())][::2]
    languages = [re.sub(r"^\{code-block\} ", "", info).strip() for info in opening]

    unknown = [name for name in languages if name not in LANGUAGES and not name.startswith("{")]
    assert unknown == []
