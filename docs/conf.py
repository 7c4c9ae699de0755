"""Sphinx's settings. `python dev.py check` builds the site with warnings as errors; by hand:

sphinx-build -W docs docs/_build/html
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

project = "anyio_mio"
author = "the anyio_mio contributors"
copyright = author  # noqa: A001 - Sphinx's name
try:
    release = version_of("anyio-mio")
except Exception:  # noqa: BLE001 - a checkout that is not installed can be read as well
    release = "from the checkout"
version = release
with (HERE.parent / "pyproject.toml").open("rb") as file:
    repository = tomllib.load(file)["project"]["urls"]["Repository"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "figures", "upstream"]
# Another machine may have no internet, so the inventories are in the tree; see their script.
intersphinx_mapping = {
    name: (url, f"inventories/{name}.inv")
    for name, url in {
        "anyio": "https://anyio.readthedocs.io/en/stable/",
        "python": "https://docs.python.org/3/",
        "trio": "https://trio.readthedocs.io/en/stable/",
    }.items()
}
intersphinx_disabled_reftypes = ["std:*"]

# ------------------------------------------------------------------ Markdown

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
suppress_warnings = ["toc.empty_glob"]

# ------------------------------------------------------------------ docstrings

default_role = "py:obj"  # a docstring's `name` is a link where there is something to link to
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Checkpoint", "Cancellation", "Ownership"]

# ------------------------------------------------------------------ looks

html_theme = "furo"
html_title = "anyio_mio"
html_static_path = ["_static"]
html_css_files = ["mio.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
html_theme_options = {
    "navigation_with_keys": True,
    "source_repository": f"{repository}/",
    "source_branch": "main",
    "source_directory": "docs/",
    "footer_icons": [{"name": "Repository", "url": repository, "class": "", "html": "Repository"}],
}
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "version.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
templates_path = ["_templates"]
html_context = {"repository": repository}

# The copy button of a console block takes the commands alone, without prompts and output.
copybutton_exclude = ".linenos, .gp, .go"

SECTION = re.compile(r"^[A-Z]\w+( \w+)?:$")


def mark_code(
    app: object, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Docstrings show code as an indented paragraph; tell reStructuredText that it is code."""
    lines[:] = list(marked(lines))


def marked(lines: list[str]) -> Iterator[str]:
    """Put `::` in front of each indented paragraph that stands alone."""
    above = ""  # the last line that is not indented
    in_code = False
    for number, line in enumerate(lines):
        if line and not line[0].isspace():
            above, in_code = line, False
        elif line.startswith("    ") and not in_code and number and not lines[number - 1].strip():
            in_code = True
            if not (
                SECTION.match(above) or above.startswith(("* ", "1. ")) or above.endswith("::")
            ):
                yield "::"
                yield ""
        yield line


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", mark_code, priority=100)
