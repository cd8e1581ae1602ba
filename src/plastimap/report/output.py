"""A study's output folder, read by name: what is missing is None."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plastimap.images import Volume, read_volume
from plastimap.paths import Paths, paths_of
from plastimap.provenance import software
from plastimap.report.inputs import STAGE_NAMES, Stage
from plastimap.writing import PathLike, read_json

if TYPE_CHECKING:
    import pandas as pd

OUTLINED_SPACE = "MNI152NLin2009aSym"
"""Target space whose outlines nilearn ships."""


class Output:
    """An output folder, opened once.

    Parameters
    ----------
    folder : path-like
        The study's output folder.
    """

    def __init__(self, folder: PathLike) -> None:
        import yaml

        self.folder = Path(folder)
        text = self.folder / Paths.effective_config
        self.config_text = text.read_text(encoding="utf-8") if text.exists() else ""
        self.config: dict[str, Any] = yaml.safe_load(self.config_text) or {}
        self.plan = self.json(Paths.plan) or {}
        self.description = self.json(Paths.description) or {}
        self.contrast = str(self.plan.get("contrast", ""))
        given = self.config.get("space", {"target": OUTLINED_SPACE, "resolution": 1.5})
        self.paths = paths_of({"space": given}, self.contrast or "T1w")
        self.versions = software()

    @property
    def version(self) -> str:
        """Of PlastiMap."""
        return self.versions.get("plastimap", "")

    @property
    def title(self) -> str:
        """Title of the config, else name of the dataset."""
        return str((self.config.get("report") or {}).get("title") or self.description.get("Name") or "PlastiMap study")

    def json(self, relative: str) -> dict[str, Any] | None:
        """Read a JSON file of the folder; None where it is missing."""
        file = self.folder / relative
        return read_json(file) if file.exists() else None

    def table(self, relative: str) -> pd.DataFrame | None:
        """Read a table of the folder; None where it is missing."""
        import pandas as pd

        file = self.folder / relative
        if not file.exists() or file.stat().st_size == 0:
            return None
        labels = {"participant_id": str, "session": str, "scan": str, "influential": str}
        return pd.read_csv(file, sep="\t", na_values=["n/a"], dtype=labels)

    def volume(self, relative: str) -> Volume | None:
        """Read an image of the folder; None where it is missing."""
        file = self.folder / relative
        return read_volume(file) if file.exists() else None

    def volumes(self, files: Mapping[str, str]) -> dict[str, Volume]:
        """Read the images that exist, by name."""
        found = {name: self.volume(relative) for name, relative in files.items()}
        return {name: volume for name, volume in found.items() if volume is not None}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What ran and what was left out, as planned."""
        if not self.plan:
            return ()
        left = self.plan.get("left_out", {})
        return tuple(Stage(name, name in self.plan.get("stages", []), left.get(name, "")) for name in STAGE_NAMES)

    @property
    def day_sources(self) -> dict[str, str]:
        """Scan → who said on which day it was."""
        manifest = self.table(Paths.manifest)
        if manifest is None or not {"participant_id", "session", "day_source"} <= set(manifest.columns):
            return {}
        known = manifest.dropna(subset=["day_source"])
        pairs = zip(known["participant_id"], known["session"], strict=True)
        names = [str(who) + (f"_ses-{visit}" if isinstance(visit, str) and visit else "") for who, visit in pairs]
        return dict(zip(names, known["day_source"].astype(str), strict=True))
