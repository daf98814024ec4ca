"""Who may import whom, what is never used, and that docs/tree.md draws the tree as it is."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "gaitforge": ROOT / "platform" / "gaitforge",
    "trainers": ROOT / "trainers",
    "search_spaces": ROOT / "search_spaces",
    "dashboard": ROOT / "dashboard",
}
OURS = set(FOLDERS)

# Which of our packages a package may import, besides itself.
MAY_IMPORT = {
    "gaitforge": set(),
    "search_spaces": {"gaitforge"},
    "trainers": {"gaitforge", "search_spaces"},
    "dashboard": {"gaitforge"},
}
EXCEPTIONS = {
    # The command line starts the dashboard in a process of its own, and asks only how.
    (ROOT / "trainers" / "__main__.py", "dashboard"),
    # The command of the wheel finds the line, and hands over to it.
    (FOLDERS["gaitforge"] / "__main__.py", "trainers"),
}

# The only packages that may import a heavy library.
AT_HOME = {
    "ray": {"trainers"},
    "optuna": {"trainers"},
    "streamlit": {"dashboard"},
    "altair": {"dashboard"},
    "torch": {"gaitforge", "trainers"},
    "onnxruntime": {"gaitforge"},
    "deltalake": {"gaitforge"},
    "obstore": {"gaitforge"},
}

# Which wings of a package a wing may import, besides itself; the files beside the wings may import all of them,
# and no wing imports those.
BELOW_TEACHING = {"terminal", "training", "cluster", "arithmetic"}
PAGES = ("fronts", "why", "compare", "store", "student")
WINGS: dict[str, dict[str, set[str]]] = {
    "trainers": {
        "terminal": set(),
        "training": {"terminal"},
        "cluster": {"terminal"},
        "arithmetic": {"terminal", "training", "cluster"},
        "teacher": BELOW_TEACHING,
        "search": BELOW_TEACHING,
        "confirm": {*BELOW_TEACHING, "teacher", "search"},
    },
    "dashboard": {
        "reading": set(),
        "frame": {"reading"},
        **{page: {"reading", "frame"} for page in PAGES},
    },
}
# Files that load Ray and do not name it, since they start what does.
START_RAY = {
    "trainers/arithmetic/machines.py",
    "trainers/confirm/folds.py",
    "trainers/pipeline.py",
}

# Inside gaitforge, imports point upwards in this list only.
ORDER = [
    "sentences", "regular_file", "toml", "duration", "ahead", "layout", "recording", "s3", "work", "hold",
    "weights", "arrays", "provenance", "quality", "ingest", "pseudonyms", "windows", "normalise", "recipe",
    "records", "familiar", "scorings", "recording_files", "quarantine", "waiting", "store", "splits",
    "window_cache", "batch", "draws", "views", "models", "gradients", "spaces", "losses", "extensions", "metrics",
    "reference", "stats", "shortcuts", "decision", "cost", "trials", "failures", "front", "objectives", "settings",
    "members", "outdated", "onnx_file", "predict", "export", "summary", "testing", "__main__",
]  # fmt: skip

PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}

SOURCES = {path: name for name, folder in FOLDERS.items() for path in sorted(folder.rglob("*.py"))}
every_source = pytest.mark.parametrize(
    "path", SOURCES, ids=lambda path: str(path.relative_to(ROOT))
)


@cache
def parsed(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def loaded(path: Path) -> list[ast.AST]:
    """What a file runs when it is imported: nothing inside functions, nor what only types need."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_for_types:
            continue
        found.append(node)
        waiting += ast.iter_child_nodes(node)
    return found


@cache
def imported(path: Path, deferred: bool = True) -> frozenset[str]:
    """Full names of the modules that a file imports; with `deferred`, also inside functions."""
    names: set[str] = set()
    for node in parsed(path) if deferred else loaded(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            module = node.module or ""
            # `from gaitforge import layout` imports a module as well
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def packages(path: Path, deferred: bool = True) -> set[str]:
    return {name.split(".")[0] for name in imported(path, deferred)}


def calls(path: Path) -> Iterator[tuple[str, dict[str, ast.expr]]]:
    """Dotted name and keyword arguments of every call."""
    for node in parsed(path):
        if isinstance(node, ast.Call):
            keywords = {word.arg: word.value for word in node.keywords if word.arg}
            yield ast.unparse(node.func), keywords


def module_file(name: str) -> Path | None:
    """The file of one of our modules; None for other names."""
    package, *rest = name.split(".")
    if package not in FOLDERS:
        return None
    path = FOLDERS[package].joinpath(*rest)
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def reached(start: Path, deferred: bool = True) -> set[Path]:
    """Our files that an import of this one loads, itself among them."""
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in imported(path, deferred):
            if name.split(".")[0] in OURS:
                parts = name.split(".")
                files = [module_file(".".join(parts[: i + 1])) for i in range(len(parts))]
                waiting += [file for file in files if file is not None]
    return found


# who may import whom


@every_source
def test_packages_are_imported_in_one_direction(path: Path) -> None:
    package = SOURCES[path]
    forbidden = OURS - MAY_IMPORT[package] - {package}
    assert {name for name in packages(path) & forbidden if (path, name) not in EXCEPTIONS} == set()


@every_source
def test_heavy_libraries_stay_at_home(path: Path) -> None:
    away = {name for name, home in AT_HOME.items() if SOURCES[path] not in home}
    assert packages(path) & away == set()


def wing(name: str) -> str:
    """The wing that a module lies in; "" for a file beside the wings."""
    package, *rest = name.split(".")
    folder = FOLDERS[package].joinpath(rest[0]) if rest else FOLDERS[package]
    return rest[0] if rest and folder.is_dir() else ""


@pytest.mark.parametrize(
    "path",
    [path for path, package in SOURCES.items() if package in WINGS],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_wings_are_imported_in_one_direction(path: Path) -> None:
    package = SOURCES[path]
    own = wing(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if not own:
        return  # it may import all of them
    ours = {name for name in imported(path) if name.startswith(f"{package}.")}
    assert {wing(name) for name in ours} - {own} <= WINGS[package][own]


def test_every_wing_has_its_rule() -> None:
    for package, wings in WINGS.items():
        folders = {path.parent.name for path in FOLDERS[package].glob("*/*.py")}
        assert folders == set(wings)


def test_ray_is_loaded_by_the_files_that_name_it_and_by_what_starts_them() -> None:
    """Printed with -s: which files load Ray."""
    files = [path for path, package in SOURCES.items() if package == "trainers"]
    names = {
        str(path.relative_to(ROOT)) for path in files if "ray" in packages(path, deferred=False)
    }
    loads = {
        str(path.relative_to(ROOT))
        for path in files
        if any("ray" in packages(p, deferred=False) for p in reached(path, deferred=False))
    }
    print(f"{len(loads)} of {len(files)} files load Ray:", *sorted(loads), sep="\n  ")
    assert loads - names == START_RAY


@pytest.mark.parametrize(
    "path",
    sorted(FOLDERS["dashboard"].rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_dashboard_loads_neither_torch_nor_ray_by_any_way(path: Path) -> None:
    assert {p for p in reached(path) if packages(p) & {"torch", "ray", "optuna"}} == set()


@pytest.mark.parametrize(
    "path", sorted((FOLDERS["gaitforge"] / "records").glob("*.py")), ids=lambda p: p.stem
)
def test_records_load_neither_torch_nor_ray_by_any_way(path: Path) -> None:
    heavy = {"torch", "ray", "optuna", "pandas", "deltalake", "onnxruntime"}
    assert {p for p in reached(path) if packages(p) & heavy} == set()


def test_onnxruntime_is_imported_where_it_is_told_to_write_nothing_and_nowhere_else() -> None:
    home = FOLDERS["gaitforge"] / "onnx_file.py"
    assert [path for path in SOURCES if "onnxruntime" in packages(path)] == [home]


def test_ezc3d_is_imported_by_the_process_of_its_own_and_by_nothing_that_we_load() -> None:
    home = FOLDERS["gaitforge"] / "ingest" / "c3d_process.py"
    assert [path for path in SOURCES if "ezc3d" in packages(path)] == [home]
    assert all("gaitforge.ingest.c3d_process" not in imported(path) for path in SOURCES)


def test_predicting_loads_no_torch_by_any_way() -> None:
    files = reached(FOLDERS["gaitforge"] / "predict.py")
    assert FOLDERS["gaitforge"] / "windows.py" in files
    assert {path for path in files if "torch" in packages(path)} == set()


@pytest.mark.parametrize(
    "name",
    [
        *(f"training/{path.stem}" for path in (ROOT / "trainers" / "training").glob("*.py")),
        *(
            f"search/{name}"
            for name in ("trial", "budget", "study", "genetic", "starts", "gpu_packing", "rungs", "claim", "checks")
        ),
        *(f"confirm/{name}" for name in ("refit_file", "verdict", "trust", "pool", "export")),
        "arithmetic/check", "chain",
    ],
)  # fmt: skip
def test_what_trains_and_what_proposes_know_no_ray(name: str) -> None:
    files = reached(FOLDERS["trainers"] / f"{name}.py")
    assert {path for path in files if "ray" in packages(path)} == set()


def test_the_order_inside_the_library_names_every_module_once() -> None:
    folder = FOLDERS["gaitforge"]
    modules = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    assert sorted(ORDER) == sorted(modules - {"__init__"})


@pytest.mark.parametrize(
    "path",
    sorted(path for path in FOLDERS["gaitforge"].rglob("*.py") if path.stat().st_size),
    ids=lambda path: str(path.relative_to(FOLDERS["gaitforge"])),
)
def test_imports_inside_the_library_go_one_way(path: Path) -> None:
    own = path.relative_to(FOLDERS["gaitforge"]).with_suffix("").parts[0]
    earlier = set(ORDER[: ORDER.index(own)]) | {own}
    used = {name.split(".")[1] for name in imported(path) if name.startswith("gaitforge.")}
    assert used - earlier == set()


# what is never used


@every_source
def test_nothing_is_pickled(path: Path) -> None:
    assert packages(path) & PICKLES == set()
    for name, keywords in calls(path):
        allowed = keywords.get("allow_pickle")
        assert allowed is None or ast.unparse(allowed) == "False", name
        assert name != "torch.save", "safetensors instead"
        if name == "torch.load":
            assert ast.unparse(keywords.get("weights_only", ast.Constant(False))) == "True"


@every_source
def test_no_seed_is_set_for_everybody(path: Path) -> None:
    """Only inside fork_rng, which puts the global generator back."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"np\.random\.(seed|rand|randn|normal|uniform|choice)\(", text)
    assert "torch.manual_seed(" not in text or "fork_rng" in text


# where the line's files are named, and the table that tells which record each holds
NAMES_FILES = {
    FOLDERS["gaitforge"] / "work.py",
    FOLDERS["gaitforge"] / "records" / "__init__.py",
    FOLDERS["gaitforge"] / "testing" / "families.py",  # a file of its own
}
FILE_NAME = re.compile(r"(^|/)[a-z_]+\.(json|jsonl|parquet|npy|safetensors|onnx)$")


@every_source
def test_names_of_files_are_spelled_in_one_place(path: Path) -> None:
    texts = {id(node.value) for node in parsed(path) if isinstance(node, ast.Expr)}  # docstrings
    named = {
        node.value
        for node in parsed(path)
        if isinstance(node, ast.Constant)
        and id(node) not in texts
        and isinstance(node.value, str)
        and FILE_NAME.search(node.value)
    }
    assert named == set() or path in NAMES_FILES


@every_source
def test_no_file_is_named_for_leftovers(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "base", "misc"}
    assert path.stem != "common" or SOURCES[path] == "search_spaces"


def test_the_folder_platform_is_no_package() -> None:
    """It would shadow the standard library's platform, and break ray, pandas and pytest."""
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_no_file_of_the_dashboard_bears_the_name_of_a_library() -> None:
    """Streamlit puts its script's folder first on the path: such a file would take its place."""
    libraries = set(importlib.metadata.packages_distributions()) | sys.stdlib_module_names
    folder = FOLDERS["dashboard"]
    files = {path.stem for path in folder.glob("*.py")} | {
        p.parent.name for p in folder.glob("*/*.py")
    }
    files -= {"__init__"}
    assert "pages" not in files, "Streamlit would make pages of its files"
    assert files & (libraries | OURS) == set()


# the tree in docs/tree.md


def tree() -> dict[str, str]:
    """Path -> phrase of each line; an indented line lies in the folder above it."""
    text = (ROOT / "docs" / "tree.md").read_text(encoding="utf-8")
    block = re.search(r"^```\w*\ngaitforge/\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block, "docs/tree.md has no block that starts with the line gaitforge/"
    entries: dict[str, str] = {}
    folder = ""
    for line in block[1].splitlines():
        if not line.strip():
            continue
        name, _, phrase = line.strip().partition(" ")
        if line[0] != " ":
            folder = name if name.endswith("/") else ""
            entries[name] = phrase.strip()
        else:
            entries[folder + name] = phrase.strip()
    return entries


def test_the_tree_names_existing_files_with_a_phrase_each() -> None:
    for name, phrase in tree().items():
        assert (ROOT / name).exists(), name
        assert (ROOT / name).is_dir() == name.endswith("/"), name
        assert phrase, name


def test_the_tree_names_every_source_file() -> None:
    files = {str(path.relative_to(ROOT)) for path in SOURCES if path.stat().st_size}
    assert files - set(tree()) == set()
