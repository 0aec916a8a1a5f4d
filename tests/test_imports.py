"""The arrows: plugins → bots → engine, never back; the chat side needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {"engine": {"engine"}, "bots": {"bots", "engine"}, "plugins": {"plugins", "bots", "engine"}}
FILES = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path):
    """Every module that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path):
    package = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in imported(path)} & set(ALLOWED)
    assert ours <= ALLOWED[package]


def test_the_message_types_are_leaves():
    assert not {n for n in imported(ROOT / "engine" / "types.py") if n.startswith(("engine", "bots"))}
    assert {n for n in imported(ROOT / "bots" / "message.py") if n.startswith(("engine", "bots"))} == {
        "engine.types"
    }


def test_there_are_no_import_circles():
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    edges = {
        name: {found for found in _top_level(path) if found in modules} - {name}
        for name, path in modules.items()
    }
    while leaves := [name for name, found in edges.items() if not found]:
        for leaf in leaves:
            del edges[leaf]
        edges = {name: found - set(leaves) for name, found in edges.items()}
    assert not edges, f"circle among {sorted(edges)}"


def _top_level(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_nothing_is_unpickled_or_evaluated():
    forbidden = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
    for path in FILES:
        assert not {name.split(".")[0] for name in imported(path)} & forbidden, path
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"eval", "exec"}, path


def test_the_chat_side_runs_without_torch():
    """With torch, transformers and numpy unimportable, the whole command line still loads."""
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'numpy', 'tokenizers'): sys.modules[name] = None\n"
        "import bots.cli, bots.platforms.web, bots.platforms.slack, plugins\n"
        "import warnings; warnings.simplefilter('ignore'); import bots.platforms.discord\n"
        "from bots.registry import Registry\n"
        "registry = Registry(); registry.load(['plugins']); assert not registry.problems, registry.problems\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
