"""What the statistics tests share: SPM12's reference model, and a small longitudinal study with known truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from plastimap.images import read_volume

DAYS = (0.0, 7.0, 14.0, 28.0, 84.0)


@dataclass(frozen=True)
class SpmModel:
    """A model of the reference, with its data and SPM12's results."""

    folder: Path
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    data: NDArray[np.float32]
    matrix: NDArray[np.float64]
    model: dict[str, Any]
    design: pd.DataFrame

    def image(self, name: str) -> NDArray[np.float64]:
        """An SPM result in the mask's voxels."""
        return read_volume(self.folder / f"{name}.nii.gz", dtype=np.float64).data[self.mask]

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / f"clusters_{name}.csv").astype(float)

    def numbers(self, name: str) -> NDArray[np.float64]:
        return np.loadtxt(self.folder / f"{name}.csv", delimiter=",")

    def roi(self, name: str) -> NDArray[np.bool_]:
        return read_volume(self.folder.parent / "data" / f"{name}.nii.gz").data > 0


def spm_model(shared: Path, name: str, files: list[str]) -> SpmModel:
    root = shared / "reference" / "spm12-glm"
    folder = root / name
    mask = read_volume(folder / "mask.nii.gz")
    inside = mask.data > 0
    return SpmModel(
        folder=folder,
        mask=inside,
        affine=mask.affine,
        data=np.stack([read_volume(root / "data" / f"{file}.gz").data[inside] for file in files]),
        matrix=np.loadtxt(folder / "design_matrix_X.csv", delimiter=","),
        model=json.loads((folder / "model.json").read_text()),
        design=pd.read_csv(root / "data" / "design.csv", dtype=str),
    )


@pytest.fixture(scope="session")
def spm(shared: Path) -> SpmModel:
    """Model A: two-sample comparison of slope images with age and TIV."""
    return spm_model(shared, "A_twosample_slopes", [f"slope_sub-{number:02d}.nii" for number in range(1, 25)])


@pytest.fixture(scope="session")
def spm_repeated(shared: Path) -> SpmModel:
    """Model B2: 24 people × 5 visits, variance components by ReML."""
    design = pd.read_csv(shared / "reference" / "spm12-glm" / "data" / "design.csv")
    return spm_model(shared, "B2_remeasures_reml", design["file"].tolist())


@dataclass(frozen=True)
class ToyStudy:
    """Maps of a small study; `arguments` is what `analyse` needs beside maps, scans and participants."""

    maps: NDArray[np.float32]
    scans: pd.DataFrame
    participants: pd.DataFrame
    arguments: dict[str, Any]
    blob: NDArray[np.bool_]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> NDArray[np.float64]:
    """Unit-variance smooth noise, the same everywhere (cut from a larger field)."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return field / field.std()


@pytest.fixture
def toy() -> Callable[..., ToyStudy]:
    """A maker of studies: two groups, linear change of `slope` per day in a ball, in group SCI-UL only."""

    def make(
        *,
        per_group: int = 6,
        days: tuple[float, ...] = (0.0, 28.0, 84.0),
        slope: float = 0.002,
        shape: tuple[int, int, int] = (20, 18, 16),
        seed: int = 5,
    ) -> ToyStudy:
        rng = np.random.default_rng(seed)
        mask = np.zeros(shape, dtype=bool)
        mask[1:-1, 1:-1, 1:-1] = True
        grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
        blob = ((grid - np.array([14, 9, 8])) ** 2).sum(axis=-1) <= 9
        names = [f"{number:02d}" for number in range(2 * per_group)]
        groups = ["SCI-UL"] * per_group + ["CON"] * per_group
        participants = pd.DataFrame(
            {
                "participant_id": names,
                "group": groups,
                "age": rng.normal(45, 12, len(names)).round(1),
                "sex": list("MF") * per_group,
                "delta": rng.normal(0, 1, len(names)).round(2),
            }
        )
        rows, maps = [], []
        for name, group in zip(names, groups, strict=True):
            own = 1 + 0.05 * smooth_noise(rng, shape, 1.3)
            for index, day in enumerate(days):
                change = slope * day * blob if group == "SCI-UL" else 0.0
                maps.append((own + change + 0.02 * smooth_noise(rng, shape, 1.3))[mask])
                rows.append((name, f"{index + 1:02d}", day))
        affine = np.diag([3.0, 3.0, 3.0, 1.0])
        affine[:3, 3] = -30, -27, -24
        left = grid[..., 0] < shape[0] // 2
        return ToyStudy(
            maps=np.stack(maps).astype(np.float32),
            scans=pd.DataFrame(rows, columns=["participant_id", "session", "day"]),
            participants=participants,
            arguments={
                "map_name": "R1",
                "tissue": "GM",
                "mask": mask,
                "search_volumes": {"L": mask & left, "R": mask & ~left},
                "affine": affine,
                "group": "group",
                "covariates": ["age"],
            },
            blob=blob,
        )

    return make
