"""The rules of the house that a program can check: who may import whom, and how long a file is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "mmvae_jax"
FILES = sorted(ROOT.rglob("*.py"))
PURE = {
    "types",
    "rules",
    "run_files",
    "distributions",
    "experts",
    "likelihoods",
    "objectives",
    "networks",
}
ALLOWED = {
    "types": set(),
    "rules": {"types"},
    "run_files": {"types"},
    "distributions": {"types"},
    "experts": {"types", "distributions"},
    "likelihoods": {"types", "distributions"},
    "objectives": {"types", "distributions", "experts", "likelihoods"},
    "networks": {"types"},
    "data": {"types"},
    "models": PURE,
    "training": PURE | {"models", "data"},
    "evaluation": PURE | {"models", "data", "training"},
    "report": PURE | {"models", "data", "training", "evaluation"},
    "reporting": {"types", "data", "training", "evaluation", "report"},
    "inference": PURE | {"models", "data", "training", "reporting"},
    "configuration": {"types", "rules", "models", "data", "evaluation"},
    "runner": PURE
    | {"models", "data", "training", "evaluation", "report", "inference", "configuration"},
    "entry_point": {"types"},
    "benchmark": {"types", "entry_point", "configuration", "data", "models", "training"},
    "features": {"types", "entry_point", "data"},
    "comparison": {"types", "run_files", "report"},
    "compare": {"types", "entry_point", "run_files", "comparison"},
    "convert_inception": {"types", "entry_point", "run_files", "evaluation"},
    "command_line": {"configuration", "types"},
    "main": {"command_line", "entry_point", "runner", "training", "types"},
    "__init__": {"inference"},
}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "mmvae_jax":
            names = [f"mmvae_jax.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("mmvae_jax.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = room(path)
    assert own in ALLOWED, f"{own} has no place in the house yet"
    assert imported_rooms(path) - {own} <= ALLOWED[own]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_do_one_thing(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420
    assert path.name not in {"utils.py", "helpers.py", "misc.py"}


def test_main_is_short():
    assert len((ROOT / "main.py").read_text(encoding="utf-8").splitlines()) < 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_slow_to_import_is_imported_where_it_is_used(path):
    """Only a download needs these: no other run shall wait for them."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & {"tensorflow_datasets", "requests"}
