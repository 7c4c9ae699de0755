"""The rules of the house that no tool of its own checks; CONTRIBUTING.md has them in prose."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "anyio_mio"
MODULES = sorted(PACKAGE.rglob("*.py"))

LINES_PER_MODULE = 500
LINES_PER_FUNCTION = 50
NESTING = 3
GRAB_BAGS = {"util", "utils", "utilities", "helper", "helpers", "common", "misc", "base"}
DEEPER = (ast.If, ast.For, ast.While, ast.Try, ast.TryStar, ast.With, ast.Match)
DEEPER_ASYNC = (ast.AsyncFor, ast.AsyncWith)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NO_VERBS = {
    *("A", "After", "All", "An", "Another", "Any", "As", "At", "Before", "Called", "Each", "Every"),
    *("Everything", "From", "How", "If", "In", "It", "Its", "Never", "No", "Nobody", "Nothing"),
    *("Of", "One", "Other", "Our", "Ours", "Some", "The", "There", "They", "This", "True", "We"),
    *("What", "When", "Where", "Whether", "Which", "While", "Who", "Whoever", "Why", "With", "You"),
}

# What each room may import besides itself and the standard library. Rooms of this project are
# named as in the import; the tools at the top see what is public.
ROOMS = {
    "poll": set[str](),
    "_reactor": {"anyio_mio.poll"},
    "_kernel": {"anyio_mio.poll", "anyio_mio._reactor"},
    "_net": {"anyio_mio.poll", "anyio_mio._reactor", "anyio"},
    "asyncio": {
        "anyio_mio.poll",
        "anyio_mio._reactor",
        "anyio_mio._kernel",
        "anyio_mio._backend.detection",
        "anyio_mio._backend.options",
        "sniffio",
    },
    "trio": {"anyio_mio.poll", "anyio_mio._reactor", "anyio_mio._net", "anyio", "trio", "outcome"},
    "asgi": {
        *("anyio_mio.serving", "anyio_mio.asyncio", "anyio", "sniffio", "httptools"),
        "websockets",
    },
    "cli": {"anyio_mio", "anyio", "click", "rich"},
    "console": {"anyio_mio"},
    "metrics": {"anyio_mio", "prometheus_client"},
    "_bench": {"anyio_mio", "anyio", "trio"},
    "_supervisor": {
        *("a2wsgi", "anyio_mio", "anyio", "h11", "prometheus_client", "rich", "watchfiles"),
    },
}
ROOM_FOLDERS = [path.parent for path in MODULES if path.name == "__init__.py"][1:]
PUBLIC = (
    "anyio_mio.poll",
    "anyio_mio.asyncio",
    "anyio_mio.trio",
    "anyio_mio.lowlevel",
    "anyio_mio.serving",
    "anyio_mio.asgi",
    "anyio_mio.testing",
    "anyio_mio.console",
    "anyio_mio.metrics",
)
ONE_RULE = (  # private, and shared with the supervisor
    "anyio_mio._net.accept_queue",
    "anyio_mio._net.unix_paths",
)
TOOLS = (
    "anyio_mio.cli",
    "anyio_mio._bench",
    "anyio_mio._supervisor",
)


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """The modules that a module imports, and `module.name` for each name taken from one."""
    package = module_name(path) if path.stem == "__init__" else module_name(path).rpartition(".")[0]
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            above = parents if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant))


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def has_private_part(name: str) -> bool:
    return any(part.startswith("_") and part != "__version__" for part in name.split("."))


def depth(node: ast.AST, level: int = 0) -> int:
    """How deep statements nest in a function; an `elif` is no deeper than its `if`."""
    deepest = level
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.Lambda, ast.ClassDef)):
            continue
        chained = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deeper = isinstance(child, DEEPER + DEEPER_ASYNC) and not chained
        deepest = max(deepest, depth(child, level + deeper))
    return deepest


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in [*MODULES, ROOT / "dev.py"]:
        for node in ast.walk(parse(path)):
            if isinstance(node, FUNCTIONS):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def body_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    documented = ast.get_docstring(node) is not None and len(node.body) > 1
    return (node.end_lineno or 0) - node.body[int(documented)].lineno + 1


def test_there_is_something_to_check() -> None:
    assert MODULES


def test_modules_are_short() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in MODULES}

    assert {p: n for p, n in lengths.items() if n > LINES_PER_MODULE} == {}


def test_functions_are_short() -> None:
    lengths = {where: body_length(node) for where, node in functions()}

    assert {w: n for w, n in lengths.items() if n > LINES_PER_FUNCTION} == {}


def test_functions_are_flat() -> None:
    depths = {where: depth(node) for where, node in functions()}

    assert {w: n for w, n in depths.items() if n > NESTING} == {}


def test_the_docstring_of_a_function_begins_with_a_verb() -> None:
    breaches = [
        f"{where}: {text.splitlines()[0]}"
        for where, node in functions()
        if (text := ast.get_docstring(node)) is not None
        if not any("property" in ast.unparse(each) for each in node.decorator_list)
        if not any("click.group" in ast.unparse(each) for each in node.decorator_list)  # --help
        if text.split()[0].strip(",.:") in NO_VERBS or text.startswith("`")
    ]

    assert breaches == []


def test_a_module_is_named_after_what_is_in_it() -> None:
    assert [str(p) for p in MODULES if {part.strip("_") for part in p.parts} & GRAB_BAGS] == []
    assert [str(p) for p in MODULES if p.stem.strip("_") in GRAB_BAGS] == []


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_what_it_may(name: str) -> None:
    allowed = {f"anyio_mio.{name}", *ROOMS[name]}
    breaches = [
        f"{module_name(path)} imports {target}"
        for path in MODULES
        if room(path) == name
        for target in imports(path)
        if target.split(".")[0] not in sys.stdlib_module_names and not within(target, *allowed)
    ]

    assert breaches == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Count imports for types and imports inside functions as well.

    A lower module says with a protocol what it needs of an upper object. That importing `a.b` runs
    the front of `a` too is left out: a front that re-exports names would make a circle with each of
    its modules.
    """
    names = {module_name(path) for path in MODULES}
    imported = {
        module_name(path): {
            target if target in names else target.rpartition(".")[0] for target in imports(path)
        }
        for path in MODULES
    }

    TopologicalSorter(imported).prepare()  # its CycleError names the modules of a circle


def test_tools_see_only_what_is_public() -> None:
    breaches = [
        f"{module_name(path)} imports {target}"
        for path in MODULES
        if within(module_name(path), *TOOLS, "anyio_mio.__main__")
        for target in imports(path)
        if within(target, "anyio_mio") and not within(target, *PUBLIC, *TOOLS, *ONE_RULE)
        if has_private_part(target)
    ]

    assert breaches == []


def test_only_poll_imports_select() -> None:
    importers = {room(p) for p in MODULES for target in imports(p) if within(target, "select")}

    assert importers <= {"poll"}


@pytest.mark.invariant("B1")
def test_one_module_knows_the_private_names_of_anyio() -> None:
    importers = {
        f"{module_name(path)} imports {target}"
        for path in MODULES
        if path != PACKAGE / "_backend" / "anyio_internals.py"
        for target in imports(path)
        if within(target, "anyio") and has_private_part(target)
    }

    assert importers == set()


def test_the_lower_rooms_do_not_import_the_top_of_the_package() -> None:
    rooms = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    breaches = [
        f"{module_name(path)} imports {target}"
        for path in MODULES
        if room(path) in {"poll", "_reactor", "_kernel", "_net", "_backend", "trio"}
        for target in imports(path)
        if within(target, "anyio_mio") and (target + "..").split(".")[1] not in rooms
    ]

    assert breaches == []


def test_the_front_of_a_private_package_is_a_docstring_and_nothing_else() -> None:
    fronts = [p for p in PACKAGE.glob("_*/__init__.py") if not p.parent.name.startswith("__")]
    breaches = [
        str(p) for p in fronts if len(parse(p).body) != 1 or not ast.get_docstring(parse(p))
    ]

    assert breaches == []


@pytest.mark.parametrize("room", ROOM_FOLDERS)
def test_the_front_of_a_room_names_each_of_its_modules(room: Path) -> None:
    front = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    named = set(re.findall(r"`(?:[\w.]+\.)?(\w+)`", front))
    drawn = set(re.findall(r"\w+", " ".join(re.findall(r"^ {4,}.*$", front, re.MULTILINE))))
    modules = {path.stem for path in room.glob("*.py") if not path.name.startswith("__")}
    assert modules <= named | drawn


def test_there_is_one_door_to_suspend() -> None:
    door = re.compile(r"types\.coroutine|from types import .*\bcoroutine\b")
    users = {path for path in MODULES if door.search(path.read_text())}

    assert users <= {PACKAGE / "_kernel" / "traps.py"}


def test_what_is_left_to_do_has_an_issue_number() -> None:
    ownerless = re.compile(r"#.*\b(TODO|FIXME|XXX)\b(?!\(#\d+\)|.*#\d+)")
    breaches = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if ownerless.search(line)
    ]

    assert breaches == []


def test_a_run_loads_neither_another_event_loop_nor_what_only_tools_need() -> None:
    program = "import sys, anyio, anyio_mio; anyio_mio.run(anyio.sleep, 0); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    unwanted = {"asyncio", "trio", "click", "rich", "h11", "tempfile", "difflib"}

    assert unwanted & set(done.stdout.split()) == set()


@pytest.mark.invariant("H3")
def test_asgi_reaches_sockets_and_tasks_through_serving_alone() -> None:
    below = [f"anyio_mio.{name}" for name in ("poll", "_reactor", "_kernel", "_net", "_backend")]
    breaches = [
        f"{module_name(path)} imports {target}"
        for path in MODULES
        if room(path) == "asgi"
        for target in imports(path)
        if within(target, *below)
    ]

    assert breaches == []


@pytest.mark.invariant("B4")
def test_the_backend_has_short_methods_without_logic() -> None:
    module = parse(PACKAGE / "_backend" / "backend.py")
    [backend] = [node for node in module.body if isinstance(node, ast.ClassDef)]
    loops = (ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar)
    breaches = [
        method.name
        for method in backend.body
        if isinstance(method, FUNCTIONS)
        if body_length(method) > 10 or any(isinstance(node, loops) for node in ast.walk(method))
    ]

    assert breaches == []
