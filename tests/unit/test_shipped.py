from __future__ import annotations

import pytest

from plastimap import shipped
from plastimap.shipped import workflow_file


def test_the_shipped_files_are_found():
    assert workflow_file("config/config.yaml").is_file()
    assert workflow_file("workflow/schemas/config.schema.json").is_file()


def test_an_installed_wheel_comes_before_the_repository(tmp_path, monkeypatch):
    (tmp_path / "wheel").mkdir()
    (tmp_path / "wheel" / "Snakefile").touch()
    monkeypatch.setattr(shipped, "ROOTS", (tmp_path / "wheel", tmp_path))
    assert workflow_file("Snakefile") == tmp_path / "wheel" / "Snakefile"


def test_a_broken_installation_is_told():
    with pytest.raises(FileNotFoundError, match="install the package again"):
        workflow_file("config/no-such-file.yaml")
