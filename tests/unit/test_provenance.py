"""A result's code id follows what code does, not how it is commented."""

from __future__ import annotations

from pathlib import Path

import pytest

from plastimap import provenance
from plastimap.provenance import code_id


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "plastimap"
    root.mkdir()
    (root / "deep.py").write_text('"""Text."""\n\ndef f(x):\n    """Doc."""\n    return x + 1\n')
    (root / "near.py").write_text("from plastimap.deep import f\n")
    (root / "other.py").write_text("y = 1\n")
    (tmp_path / "script.py").write_text("from plastimap import near\nprint(near.f(1))\n")
    monkeypatch.setattr(provenance, "ROOT", root)
    return tmp_path


def fresh(folder: Path) -> str:
    provenance._code_id.cache_clear()
    provenance._meaning.cache_clear()
    return code_id(folder / "script.py")


@pytest.mark.parametrize(
    ("file", "old", "new", "same"),
    [
        ("plastimap/deep.py", '"""Doc."""', '"""Another docstring."""', True),
        ("plastimap/deep.py", "return x + 1", "return x + 1  # why", True),
        ("plastimap/deep.py", "return x + 1", "return x + 2", False),
        ("plastimap/near.py", "import f", "import f as f", False),
        ("plastimap/other.py", "y = 1", "y = 2", True),
        ("script.py", "print(near.f(1))", "\n\nprint(near.f(1))", True),
        ("script.py", "near.f(1)", "near.f(2)", False),
    ],
)
def test_only_meaning_counts(package: Path, file: str, old: str, new: str, same: bool) -> None:
    before = fresh(package)
    place = package / file
    assert old in place.read_text()
    place.write_text(place.read_text().replace(old, new))
    assert (fresh(package) == before) is same


def test_a_new_version_of_a_numerical_package_counts(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "plastimap" / "deep.py").write_text("import numpy\n\ndef f(x):\n    return x\n")
    before = fresh(package)
    monkeypatch.setattr(provenance, "version", lambda name: "99" if name == "numpy" else "1")
    assert fresh(package) != before


def test_files_of_the_program_count_by_content(package: Path) -> None:
    page = package / "page.j2"
    page.write_text("one")
    before = code_id(package / "script.py", page)
    page.touch()
    provenance._code_id.cache_clear()
    assert code_id(package / "script.py", page) == before
    page.write_text("two")
    provenance._code_id.cache_clear()
    assert code_id(package / "script.py", page) != before


def test_every_script_has_an_id() -> None:
    scripts = sorted((Path(__file__).parents[2] / "scripts").glob("*.py"))
    assert scripts
    assert all(len(code_id(script)) == 16 for script in scripts)
