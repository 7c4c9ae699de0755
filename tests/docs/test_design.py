"""What the design notes say of the house is so: its picture, its rules, where its tests are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.page import ROOT

PACKAGE = ROOT / "anyio_mio"
DESIGN = ROOT / "docs" / "design"
ROOMS = {
    path.stem for path in PACKAGE.iterdir() if path.name[:2] != "__" or path.stem == "__main__"
}
ROOMS -= {"py", "__pycache__"}
ALL_TESTS = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
MARK = re.compile(r"mark\.invariant\(\s*[\"']([A-Z]\d+)[\"']")
RULE = re.compile(r"^\| ([A-Z]\d+) \|[^|]*\|([^|]*)\|$", re.MULTILINE)


def picture() -> dict[str, int]:
    """The line of each room in the picture of the house, from the top down."""
    drawing = (DESIGN / "house.md").read_text().split("```text\n")[1].split("```")[0]
    lines: dict[str, int] = {}
    for number, line in enumerate(drawing.splitlines()):
        for word in re.findall(r"\w+", line):
            assert word not in lines, f"{word} is drawn twice"
            lines[word] = number
    return lines


def arrows() -> Iterator[tuple[str, str, str]]:
    """Each import of another room: the module, its room, and the room that it imports."""
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for name in imported(path):
            target = (f"{name}.").split(".")[1] if name.startswith("anyio_mio.") else ""
            if target in ROOMS and room in ROOMS and target != room:
                yield str(path.relative_to(ROOT)), room, target


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_is_in_the_picture() -> None:
    assert set(picture()) == ROOMS


def test_every_import_goes_down_in_the_picture() -> None:
    line = picture()

    assert [each for each in arrows() if line[each[1]] >= line[each[2]]] == []


def test_the_picture_agrees_with_the_import_contracts() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    layers = text.split("layers = [")[1].split("]")[0].splitlines()
    order = [re.findall(r"\((\w+)\)", layer) for layer in layers if layer.strip()]
    line = picture()

    assert {room for layer in order for room in layer} == set(line)
    for upper, lower in pairwise(order):
        assert max(line[room] for room in upper) <= min(line[room] for room in lower)


def rules() -> dict[str, list[Path]]:
    """The rules of invariants.md, and the files that each names; "the same" is the last one's."""
    found: dict[str, list[Path]] = {}
    last: list[Path] = []
    for name, where in RULE.findall((DESIGN / "invariants.md").read_text()):
        files = [file_of_tests(each) for each in re.findall(r"`([\w/]+\.py)`", where)]
        last = found[name] = [*(last[:1] if "the same" in where else []), *files]
    return found


def file_of_tests(name: str) -> Path:
    [path] = [each for each in ALL_TESTS if str(each).endswith(f"/{name}")]
    return path


RULES = rules()


def test_there_are_rules() -> None:
    assert len(RULES) >= 25


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_a_marked_test_in_each_file_that_is_named(name: str) -> None:
    assert RULES[name]
    assert [str(path) for path in RULES[name] if name not in MARK.findall(ALL_TESTS[path])] == []


def test_a_mark_names_a_rule() -> None:
    marked = {(name, path.name) for path, text in ALL_TESTS.items() for name in MARK.findall(text)}

    assert {each for each in marked if each[0] not in RULES} == set()


def test_the_rules_of_a_rooms_docstring_are_those_of_the_page() -> None:
    for path in PACKAGE.glob("*/__init__.py"):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        told = re.findall(r"^\* ([A-Z]\d+) ", docstring, re.MULTILINE)
        assert [name for name in told if name not in RULES] == []


def table() -> dict[str, list[str]]:
    """The modules that tests/README.md lists, by pattern, with where their tests are."""
    rows = re.findall(
        r"^\| `([^`]+)` \| (.+) \|$", (ROOT / "tests" / "README.md").read_text(), re.MULTILINE
    )
    return {pattern: re.findall(r"`([^`]+)`", where) for pattern, where in rows}


def is_found_by_name(module: Path) -> bool:
    room = module.relative_to(PACKAGE).parts[0].strip("_")
    name = f"test_{module.stem.strip('_')}.py"
    return any((ROOT / "tests" / folder / name).exists() for folder in (room, "integration"))


def test_the_tests_of_each_module_are_found() -> None:
    patterns = table()
    modules = [path for path in PACKAGE.rglob("*.py") if not path.stem.startswith("__")]
    lost = [
        str(module.relative_to(ROOT))
        for module in modules
        if not is_found_by_name(module) and not any(module.match(pattern) for pattern in patterns)
    ]

    assert lost == [], "name the test after the module, or add a line to tests/README.md"


def test_the_table_of_tests_names_what_exists() -> None:
    for pattern, places in table().items():
        assert list(ROOT.glob(pattern)), pattern
        assert [place for place in places if not (ROOT / place).exists()] == []
