"""What a result depends on beside its inputs: code and package versions.

Snakemake reruns a job when a param changes. Each rule carries
``code=code_id("scripts/x.py")``: a hash of what the script and the library
modules it reaches *do*. A comment, a docstring, a new clone leave it alone.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from plastimap.caches import cache_folder
from plastimap.writing import write_text

PACKAGE = "plastimap"
ROOT = Path(__file__).parent

ALWAYS_THERE = ("dipy", "matplotlib", "nibabel", "nilearn", "numba", "numpy", "pandas", "picsl_greedy", "safetensors",
                "scipy", "SimpleITK")  # fmt: skip

OPTIONAL = ("deepbet", "torch")

NUMERICAL = {**dict.fromkeys((*ALWAYS_THERE, *OPTIONAL), ""), "sklearn": "scikit-learn"}
"""Packages whose version belongs to a result, with their distribution's name where it is another than the module's.
An optional one that is not there is a version too: once it is installed, results may differ."""


class CodeIds:
    """Code ids of a workflow's scripts, by name.

    Parameters
    ----------
    root : path-like
        Folder that holds ``scripts/``.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def __call__(self, script: str, files: str | None = None) -> str:
        """Code id of ``scripts/<script>.py`` and of the files that match a pattern under the root."""
        used = self.root.glob(files) if files else ()
        return code_id(self.root / "scripts" / f"{script}.py", *used)


def code_id(script: str | Path, *files: str | Path) -> str:
    """Hash of what a script does.

    Parameters
    ----------
    script : path-like
        A Python file.
    *files : path-like
        Files it reads that are part of the program, such as page templates; their content counts.

    Returns
    -------
    str
        16 hexadecimal digits, from the syntax trees (docstrings stripped) of
        the script and of every `plastimap` module it imports, however deeply,
        and from the versions of the numerical packages these import.
    """
    return _code_id(Path(script).resolve(), tuple(sorted(map(Path, files))))


@cache
def _code_id(script: Path, files: tuple[Path, ...]) -> str:
    modules = _reached(script)
    code = [script, *(modules[name] for name in sorted(modules))]
    packages = {name.partition(".")[0] for file in code for name in _meaning(file)[1]}
    digest = hashlib.sha256(f"python={sys.version_info[:2]}".encode())
    for content in (
        *(_meaning(file)[0] for file in code),
        *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files),
    ):
        digest.update(bytes.fromhex(content))
    for name in sorted(packages & NUMERICAL.keys()):
        digest.update(f"{name}={version(NUMERICAL[name] or name)}".encode())
    _known().keep()
    return digest.hexdigest()[:16]


def _reached(script: Path) -> dict[str, Path]:
    """Every library module that `script` imports, however deeply: name → file."""
    modules: dict[str, Path] = {}
    waiting = [*_meaning(script)[1]]
    while waiting:
        name = waiting.pop()
        file = _module_file(name) if name.partition(".")[0] == PACKAGE else None
        if file is not None and name not in modules:
            modules[name] = file
            waiting += _meaning(file)[1]
    return modules


class _Known:
    """What files mean, by their content: parsing all of them takes a second, looking them up some milliseconds."""

    FORMAT = 1

    def __init__(self) -> None:
        folder = cache_folder()
        name = f"meanings-{self.FORMAT}-{sys.version_info[0]}.{sys.version_info[1]}.json"
        self.file = folder / name if folder else None
        self.content: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.grown = False
        self._read()

    def _read(self) -> None:
        try:
            found = json.loads(self.file.read_text(encoding="utf-8")) if self.file else {}
            self.content = {key: (str(digest), tuple(names)) for key, (digest, names) in found.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            # None yet, or not one of ours: it is only a shortcut.
            self.content = {}

    def keep(self) -> None:
        """Write what was learned."""
        if self.grown and self.file:
            try:
                write_text(self.file, json.dumps(self.content))
            except OSError:
                return
            self.grown = False


@cache
def _known() -> _Known:
    return _Known()


@cache
def _meaning(file: Path) -> tuple[str, tuple[str, ...]]:
    """Digest of a file's syntax tree without docstrings and positions, and the modules that it names in imports."""
    source, known = file.read_bytes(), _known()
    key = hashlib.sha256(source).hexdigest()
    if key not in known.content:
        tree = ast.parse(source)
        _strip_docstrings(tree)
        known.content[key] = hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(_imports(tree))
        known.grown = True
    return known.content[key]


def _strip_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [item for item in node.body if not _is_text(item)] or [ast.Pass()]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            # `from plastimap.space import smooth` names a module, not an attribute.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module_file(name: str) -> Path | None:
    place = ROOT.joinpath(*name.split(".")[1:])
    if place.with_suffix(".py").is_file():
        return place.with_suffix(".py")
    return place / "__init__.py" if (place / "__init__.py").is_file() else None


@cache
def version(package: str) -> str:
    """Installed version of a distribution, or ``absent``."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def software() -> dict[str, str]:
    """Versions of PlastiMap, Python and the numerical packages, for sidecars and the report."""
    found = {(other or name): version(other or name) for name, other in sorted(NUMERICAL.items())}
    packages = {name: number for name, number in found.items() if number != "absent"}
    python = sys.version.partition(" ")[0]
    return {PACKAGE: version(PACKAGE), "python": python, "snakemake": version("snakemake"), **packages}
