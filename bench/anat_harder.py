"""Real heads made harder: what cropping, noise, coarse voxels, turning and a cut-off face do to mask and tissues.

    python bench/anat_harder.py [--shared DIR] [--heads NAME …] [--pictures DIR] [--json FILE] [--check]

Each result is brought to the grid of the unharmed scan and compared with the result of the unharmed run: Dice at one
half, and the intracranial volume. Where part of the brain is cut off, what remains is compared. *Coarse* is 2 mm, or
3 mm where the scan has 2 mm already. ``--pictures`` draws the outlines of mask and tissues. ``--check`` exits 1 when a
wanted figure is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.anat_vs_spm import HEADS, SHARED, dice

from plastimap.anat.grids import antialias, isotropic_grid, resample_isotropic, sample, within
from plastimap.anat.pipeline import ScanAnatomy, segment_scan
from plastimap.images import Volume, read_volume
from plastimap.simulate.anatomy import rigid

WANTED = {
    "flipped": 0.99,
    "oblique": 0.97,
    "cropped neck": 0.98,
    "noisy": 0.96,
    "coarse": 0.95,
    "tilted, coarse": 0.95,
    "defaced": 0.98,
}
"""Least Dice of the brain with that of the unharmed run: turning costs one interpolation, noise and voxels more."""

MOST_TIV = 3.0
"""Per cent by which the intracranial volume may move: more would be flagged as a jump between sessions."""

MOST_TILT = 1.5
"""Per cent by which it may differ between coarse voxels along the head's axes and tilted ones: what is measured must
not depend on how the slices were laid."""

OBLIQUE = (0.0, 0.0, 0.0, 17.0, -9.0, 23.0)
TILTED = (0.0, 0.0, 0.0, 8.0, -5.0, 5.0)
COARSE_MM = 2.0
NOISE_SHARE = 0.06
"""Of the 99th percentile: SD of the noise that is added in quadrature."""


def flipped(scan: Volume) -> Volume:
    """Store the first two axes backwards and the last two swapped; the place in the world stays."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = np.array(scan.shape[:2]) - 1
    swap = np.eye(4)[[0, 2, 1, 3]]
    return Volume(np.ascontiguousarray(scan.data[::-1, ::-1].swapaxes(1, 2)), scan.affine @ flip @ swap)


def oblique(scan: Volume) -> Volume:
    """Sample on a matrix that is turned about all axes."""
    affine = _about_middle(scan, OBLIQUE) @ scan.affine
    return Volume(sample(scan.data, scan.affine, scan.shape, affine, order=3).clip(0), affine)


def tilted(scan: Volume) -> Volume:
    """Measure :func:`coarse` voxels that are turned by a few degrees, as slices along a person's own lines are."""
    size = _coarse_mm(scan)
    shape, grid = isotropic_grid(scan, size)
    affine = _about_middle(scan, TILTED) @ grid
    smooth = antialias(np.asarray(scan.data, dtype=np.float32), scan.voxel_size, size)
    return Volume(sample(smooth, scan.affine, shape, affine, order=3).clip(0), affine)


def _about_middle(scan: Volume, movement: tuple[float, ...]) -> NDArray[np.float64]:
    middle = np.eye(4)
    middle[:3, 3] = scan.affine[:3, :3] @ (np.array(scan.shape) / 2) + scan.affine[:3, 3]
    return middle @ rigid(movement) @ np.linalg.inv(middle)


def noisy(scan: Volume) -> Volume:
    """Add Rician noise."""
    rng = np.random.default_rng(7)
    sd = NOISE_SHARE * float(np.percentile(scan.data, 99))
    parts = (scan.data + rng.normal(scale=sd, size=scan.shape), rng.normal(scale=sd, size=scan.shape))
    return Volume(np.hypot(*parts).astype(np.float32), scan.affine)


def coarse(scan: Volume) -> Volume:
    """Sample at :data:`COARSE_MM`, or half as coarse again where the scan is that coarse already."""
    return resample_isotropic(scan, _coarse_mm(scan))


def _coarse_mm(scan: Volume) -> float:
    return COARSE_MM if scan.voxel_size.min() < 0.9 * COARSE_MM else 1.5 * float(scan.voxel_size.min())


def without_neck(scan: Volume, brain: NDArray[np.bool_]) -> Volume:
    """Cut the field of view off 5 mm below the brain."""
    return _kept(scan, _height(scan) > _height(scan)[brain].min() - 5.0, cut=True)


def defaced(scan: Volume, brain: NDArray[np.bool_]) -> Volume:
    """Set what lies in front of and below the middle of the brain, 15 mm away from it, to zero."""
    world = np.moveaxis(np.indices(scan.shape), 0, -1) @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    front, low = world[..., 1] > world[brain][:, 1].max() - 30.0, world[..., 2] < world[brain][:, 2].mean()
    return _kept(scan, ~(front & low & ~within(brain, scan.voxel_size, 15.0)), cut=False)


def _height(scan: Volume) -> NDArray[np.float64]:
    index = np.indices(scan.shape)
    return np.tensordot(scan.affine[2, :3], index, axes=1) + scan.affine[2, 3]


def _kept(scan: Volume, where: NDArray[np.bool_], *, cut: bool) -> Volume:
    if not cut:
        return Volume(np.where(where, scan.data, 0).astype(np.float32), scan.affine)
    axis = int(np.abs(scan.affine[2, :3]).argmax())
    planes = np.nonzero(where.any(axis=tuple(other for other in range(3) if other != axis)))[0]
    box = [slice(None)] * 3
    box[axis] = slice(int(planes[0]), int(planes[-1]) + 1)
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, axis] * planes[0]
    return Volume(scan.data[tuple(box)], affine)


def harder(scan: Volume, brain: NDArray[np.bool_]) -> dict[str, Callable[[], Volume]]:
    """Variants of a scan by name."""
    return {
        "flipped": lambda: flipped(scan),
        "oblique": lambda: oblique(scan),
        "cropped neck": lambda: without_neck(scan, brain),
        "noisy": lambda: noisy(scan),
        "coarse": lambda: coarse(scan),
        "tilted, coarse": lambda: tilted(scan),
        "defaced": lambda: defaced(scan, brain),
    }


def run(shared: Path, name: str, pictures: Path | None) -> list[dict[str, Any]]:
    """Scores of all variants of one head."""
    scan = read_volume(shared / HEADS[name])
    whole = segment_scan(scan, quantitative=False, mask_method="classical")
    draw(pictures, f"{name} unharmed", scan, whole)
    rows: list[dict[str, Any]] = []
    for variant, make in harder(scan, whole.mask).items():
        other = make()
        try:
            made = segment_scan(other, quantitative=False, mask_method="classical")
        except (ValueError, RuntimeError) as problem:
            rows.append({"head": name, "variant": variant, "failed": str(problem)})
            continue
        draw(pictures, f"{name} {variant}", other, made)
        seen = sample(np.ones(other.shape), other.affine, scan.shape, scan.affine) > 0.5
        back = {key: sample(image, other.affine, scan.shape, scan.affine) * seen for key, image in _maps(made).items()}
        scores = {key: dice(back[key], image * seen) for key, image in _maps(whole).items()}
        tiv = 100 * (made.tiv_ml / (whole.tiv_ml * float((whole.mask & seen).sum() / whole.mask.sum())) - 1)
        rows.append({"head": name, "variant": variant, "dice": scores, "tiv_percent": tiv})
        print(line(rows[-1]), flush=True)
    return rows


def _maps(made: ScanAnatomy) -> dict[str, NDArray[Any]]:
    return {**made.probabilities, "brain": made.mask.astype(np.float32)}


def draw(folder: Path | None, title: str, scan: Volume, made: ScanAnatomy) -> None:
    """Outlines on three slices along each axis: mask red, GM yellow, WM blue."""
    if folder is None:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 12), facecolor="black", layout="tight")
    ceiling = float(np.percentile(scan.data[made.mask], 99.5))
    for row, axis in enumerate((2, 1, 0)):
        there = np.nonzero(made.mask.any(axis=tuple(other for other in range(3) if other != axis)))[0]
        for column, share in enumerate((0.25, 0.5, 0.75)):
            place = int(there[0] + share * (there[-1] - there[0]))
            panel = figure.add_subplot(3, 3, 3 * row + column + 1)
            panel.imshow(np.take(scan.data, place, axis).T, origin="lower", cmap="gray", vmin=0, vmax=ceiling)
            for image, colour in ((made.wm, "deepskyblue"), (made.gm, "gold"), (made.mask, "red")):
                plane = np.take(image, place, axis).T.astype(np.float32)
                if plane.max() > 0.5 > plane.min():
                    panel.contour(plane, [0.5], colors=colour, linewidths=0.6)
            panel.set_axis_off()
    figure.suptitle(title, color="white")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{title.replace(' ', '_')}.png", dpi=70)


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    start = f"{row['head']:24s}{row['variant']:16s}"
    if "failed" in row:
        return start + f"failed: {row['failed']}"
    scores = "  ".join(f"{name} {value:.3f}" for name, value in row["dice"].items())
    return f"{start}{scores}  TIV {row['tiv_percent']:+.1f} %"


def judge(rows: list[dict[str, Any]]) -> list[str]:
    """Name what was missed."""
    missed: list[str] = []
    for row in rows:
        low = "failed" in row or row["dice"]["brain"] < WANTED[row["variant"]]
        if low or abs(row["tiv_percent"]) > MOST_TIV:
            missed.append(line(row))
    tiv = {(row["head"], row["variant"]): row["tiv_percent"] for row in rows if "failed" not in row}
    for head in dict.fromkeys(row["head"] for row in rows):
        upright, turned = (tiv.get((head, variant), np.nan) for variant in ("coarse", "tilted, coarse"))
        if abs(turned - upright) > MOST_TILT:
            missed.append(f"{head}: TIV {turned:+.1f} % of tilted voxels, {upright:+.1f} % of upright ones")
    return missed


def main() -> int:
    """Compare, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of the reference data")
    parser.add_argument("--heads", nargs="*", choices=list(HEADS), default=list(HEADS))
    parser.add_argument("--pictures", type=Path, help="folder for outlines")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.shared.exists():
        print(f"no reference at {options.shared}: nothing to do")
        return 0
    rows = [row for name in options.heads for row in run(options.shared, name, options.pictures)]
    missed = judge(rows)
    if options.json:
        options.json.write_text(json.dumps({"harder": rows, "missed": missed}, indent=2) + "\n")
    for said in missed:
        print(f"missed: {said}", file=sys.stderr)
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
