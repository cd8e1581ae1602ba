"""Tiny BIDS datasets, written where a test wants them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from plastimap.config import load_config

SHAPE = (4, 5, 3)
AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, -8], [0, 0, 2, -6], [0, 0, 0, 1]])
PROTOCOL = {"PDw": (6, 1, False), "T1w": (21, 2, False), "MTw": (6, 1, True)}
"""Weighting → flip angle, flip index, MT pulse."""


class StudyMaker:
    """Writes files of a BIDS dataset under `root`; every method gives the path it wrote."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.text("dataset_description.json", json.dumps({"Name": "tiny", "BIDSVersion": "1.10.0"}))

    def text(self, path: str, content: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        return file

    def table(self, path: str, *lines: str) -> Path:
        """Cells are written with spaces between them."""
        return self.text(path, "".join("\t".join(line.split()) + "\n" for line in lines))

    def image(self, path: str, shape: tuple[int, ...] = SHAPE, affine: Any = AFFINE, **metadata: Any) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(np.zeros(shape, np.int16), affine).to_filename(file)
        if metadata:
            self.text(path.replace(".nii.gz", ".json"), json.dumps(metadata))
        return file

    def name(self, scan: str, datatype: str, rest: str) -> str:
        return f"{scan.replace('_', '/')}/{datatype}/{scan}_{rest}"

    def t1w(self, scan: str, rest: str = "T1w.nii.gz", **options: Any) -> Path:
        return self.image(self.name(scan, "anat", rest), **options)

    def dwi(self, scan: str, rest: str = "dwi", *, n: int = 8, gradients: bool = True) -> Path:
        """One b = 0 volume, then `n` - 1 different directions."""
        stem = self.name(scan, "dwi", rest)
        if gradients:
            angles = [math.pi * k / (n - 1) for k in range(n - 1)]
            columns = [(0.0, 0.0, 0.0), *((math.cos(a), math.sin(a) * 0.8, math.sin(a) * 0.6) for a in angles)]
            self.text(f"{stem}.bval", " ".join(["0", *["1000"] * (n - 1)]) + "\n")
            self.text(f"{stem}.bvec", "\n".join(" ".join(f"{v[i]:.6f}" for v in columns) for i in range(3)) + "\n")
        return self.image(f"{stem}.nii.gz", (*SHAPE, n), PhaseEncodingDirection="j", TotalReadoutTime=0.05)

    def mpm(self, scan: str, weightings: tuple[str, ...] = ("PDw", "T1w", "MTw"), *, n: int = 3, run: str = "",
            **changes: Any) -> list[Path]:  # fmt: skip
        files: list[Path] = []
        for weighting in weightings:
            angle, flip, mt = PROTOCOL[weighting]
            for echo in range(1, n + 1):
                rest = f"acq-x{run}_echo-{echo}_flip-{flip}_mt-{'on' if mt else 'off'}_MPM.nii.gz"
                metadata = {"FlipAngle": angle, "RepetitionTimeExcitation": 0.0245, "EchoTime": 0.0023 * echo}
                metadata = {**metadata, "MTState": mt, **changes}
                wanted = {key: value for key, value in metadata.items() if value is not None}
                files.append(self.image(self.name(scan, "anat", rest), **wanted))
        return files

    def b1(self, scan: str, units: str = "percent") -> Path:
        return self.image(self.name(scan, "fmap", "TB1map.nii.gz"), Units=units)

    def config(self, **changes: Any) -> dict[str, Any]:
        """The shipped defaults with `changes`; the tests that want its problems load it themselves."""
        return load_config({"bids_dir": str(self.root), **changes})[0]

    def everything(self) -> StudyMaker:
        """Two people × two sessions of every kind of data; returns this maker."""
        self.table("participants.tsv", "participant_id group age", "sub-01 A 30", "sub-02 B 41.5")
        for person in ("sub-01", "sub-02"):
            self.table(f"{person}/{person}_sessions.tsv", "session_id day", "ses-01 0", "ses-02 28")
            for session in ("ses-01", "ses-02"):
                scan = f"{person}_{session}"
                self.mpm(scan)
                self.b1(scan)
                self.dwi(scan)
                self.t1w(scan)
        return self


@pytest.fixture
def make(tmp_path: Path) -> StudyMaker:
    return StudyMaker(tmp_path / "bids")


@pytest.fixture
def study(make: StudyMaker) -> StudyMaker:
    """Two people × two sessions with everything, without a single error."""
    return make.everything()
