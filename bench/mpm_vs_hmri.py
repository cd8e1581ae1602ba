"""PlastiMap's MPM maps beside those of the hMRI toolbox, and both beside the truth.

    python bench/mpm_vs_hmri.py [--reference DIR] [--json FILE] [--check]

Part one takes every reference output of hMRI 1.0.0 (Octave) and computes the same thing from the same input: median
and largest relative difference over the tissue voxels. Part two simulates tissue at several signal-to-noise ratios
and gives bias and spread of hMRI's way (its estimators, which part one shows to be equal) and of the joint fit.
``--check`` exits 1 when a difference exceeds 1e-5, or the joint fit is more biased or spreads wider.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.images import read_volume
from plastimap.mpm import maps
from plastimap.mpm.errors import Excitation, as_hmri, gradients
from plastimap.mpm.estatics import EstaticsFit, fit_estatics
from plastimap.mpm.joint import fit_joint
from plastimap.mpm.spoiling import Spoiler, SpoilingCorrection, Tissue, correct_spoiling
from plastimap.writing import read_json

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "hmri"
WANTED_DIFFERENCE = 1e-5
CONTRASTS = ("PDw", "T1w", "MTw")
PATTERN = re.compile(r"(noisefree|rician)_(OLS|WLS\d)_(?:sa(\d)_b1(\d)_)?(.+)")

PUBLISHED = {
    True: ((41.5044, -56.2888, 28.6704), (-0.0972, 0.0973, 0.9649)),
    False: ((19.6072, -26.8305, 13.7302), (-0.0485, 0.0496, 0.982)),
}
"""Spoiling coefficients that the reference outputs were made with (25 ms, 6° and 21°): by small angle."""

PIPELINES = {
    "hmri_full_pipeline_OLS": ("OLS", {"A": "A", "MTsat": "MTsat_helms", "R1": "R1", "R2s_OLS": "R2s"}),
    "hmri_full_pipeline_WLS1_ISC_err": (
        "WLS1",
        {"A": "A", "MTsat": "MTsat_helms", "R1": "ISC_R1", "R2s_WLS1": "R2s", "R1_param_error": "ISC_dR1"}
        | {"A_param_error": "dA", "MTsat_param_error": "dMTsat_helms"}
        | {f"{name}_WLS1fit_TEzero": f"{name}_TE0" for name in ("PDw", "T1w", "MTw")}
        | {f"{name}_errorESTATICS": f"{name}_rmsres" for name in ("PDw", "T1w", "MTw")},
    ),
}
"""Outputs of the toolbox's whole pipeline (Rician noise, measured B1+, exact angles): method, and their names here."""

TISSUES = {
    "GM": {"A": 8000.0, "R1": 0.65, "R2s": 17.0, "MTsat": 0.9},
    "WM": {"A": 6900.0, "R1": 1.05, "R2s": 22.0, "MTsat": 1.8},
    "CSF": {"A": 10000.0, "R1": 0.3, "R2s": 3.0, "MTsat": 0.1},
}
N_VOXELS = 40_000


class Reference:
    """Inputs and outputs of the toolbox, and our fits to the same inputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = read_json(folder / "inputs" / "acq.json")
        self.times = {name: np.array(about["TE_ms"][name]) / 1000 for name in CONTRASTS}
        self.flips = {name: float(about["flip_deg"][name]) for name in CONTRASTS}
        self.trs = dict.fromkeys(CONTRASTS, about["TR_ms"] / 1000)
        self.tissue = read_volume(folder / "inputs" / "truth_labels.nii.gz").data > 0
        self.b1 = read_volume(folder / "inputs" / "B1map_pu.nii.gz", dtype=np.float64).data[self.tissue] / 100
        self._fits: dict[tuple[str, str], EstaticsFit] = {}

    def fit(self, noise: str, method: str) -> EstaticsFit:
        """Fit the echoes of one kind of noise."""
        if (noise, method) not in self._fits:
            series = {
                name: read_volume(self.folder / "inputs" / f"{name}_{noise}.nii.gz", dtype=np.float64).data
                for name in CONTRASTS
            }
            echoes = {name: list(np.moveaxis(data, 3, 0)) for name, data in series.items()}
            self._fits[noise, method] = fit_estatics(echoes, self.times, method=method.lower(), mask=self.tissue)  # type: ignore[arg-type]
        return self._fits[noise, method]

    def ours(self, noise: str, method: str, small: bool, with_b1: bool, name: str) -> NDArray[np.floating] | None:
        """Our version of one output over the tissue voxels; None for one that is not ours to make."""
        fit = self.fit(noise, method)
        signals = {c: image[self.tissue].astype(np.float64) for c, image in fit.intercepts.items()}
        b1 = self.b1 if with_b1 else None
        plain: dict[str, Any] = {"R2s": fit.r2s[self.tissue], "MTR": maps.mtr(signals["PDw"], signals["MTw"])}
        plain |= {f"{c}_TE0": signal for c, signal in signals.items()}
        plain |= {f"{c}_rmsres": fit.residual_sd[c][self.tissue] for c in CONTRASTS}
        if name in plain:
            return plain[name]
        pair = {"flip_pdw_deg": self.flips["PDw"], "flip_t1w_deg": self.flips["T1w"]}
        pair |= {"tr_pdw": self.trs["PDw"], "tr_t1w": self.trs["T1w"]}
        r1, a = maps.r1_and_a(signals["PDw"], signals["T1w"], b1=b1, small_angle=small, **pair)
        if name in ("R1", "A"):
            return {"R1": r1, "A": a}[name]
        pa, pb = PUBLISHED[small]
        corrected = correct_spoiling(r1, b1, SpoilingCorrection(pa, pb, np.nan, np.nan, small, Spoiler(), Tissue()))
        if name == "ISC_R1":
            return corrected
        if name == "ISC_dR1":
            # The correction is T1 = Pa + Pb T1app, so dR1 is stretched by Pb (R1/R1app)².
            return self.ours(noise, method, small, with_b1, "dR1") * np.polyval(pb, self.b1) * (corrected / r1) ** 2
        form = name.rpartition("_")[2] if name.startswith(("MTsat", "dMTsat")) else "helms"
        excitation = Excitation(self.flips, self.trs, small_angle=small, correction=form)  # type: ignore[arg-type]
        if name.startswith("MTsat"):
            return maps.mtsat(
                *(signals[c] for c in CONTRASTS), flip_mtw_deg=self.flips["MTw"], tr_mtw=self.trs["MTw"], b1=b1,
                correction=form, small_angle=small, **pair,
            )  # type: ignore[arg-type]  # fmt: skip
        errors = as_hmri(gradients(signals, excitation, b1=b1), {c: fit.residual_sd[c][self.tissue] for c in CONTRASTS})
        return errors.get(name.removeprefix("d").partition("_")[0])


def against_hmri(folder: Path) -> list[dict[str, Any]]:
    """Differences of every reference output."""
    reference, rows = Reference(folder), list[dict[str, Any]]()
    for file in sorted((folder / "hmri").glob("*.nii.gz")):
        found = PATTERN.fullmatch(file.name.removesuffix(".nii.gz"))
        if found:
            noise, method, small, with_b1, name = found.groups()
            rows.append(compared(reference, file, noise, method, small == "1", with_b1 == "1", name))
    for place, (method, names) in PIPELINES.items():
        for theirs, name in names.items():
            rows.append(
                compared(reference, folder / place / f"PDw_e1_{theirs}.nii.gz", "rician", method, False, True, name)
            )
    return rows


def compared(
    reference: Reference, file: Path, noise: str, method: str, small: bool, with_b1: bool, name: str
) -> dict[str, Any]:
    """Median and largest relative difference of one output."""
    label = f"{file.parent.name}/{file.name}"
    ours = reference.ours(noise, method, small, with_b1, name)
    if ours is None:
        return {"output": label, "note": "not made by PlastiMap"}
    theirs = read_volume(file, dtype=np.float64).data[reference.tissue]
    # A residual of noise-free echoes is rounding alone: it is compared with the signal it belongs to.
    scale = np.abs(theirs)
    if "res" in name and noise == "noisefree":
        scale = np.abs(reference.fit(noise, method).intercepts[name.partition("_")[0]][reference.tissue])
    difference = np.abs(ours - theirs) / scale
    return {"output": label, "median": float(np.median(difference)), "largest": float(difference.max())}


def simulated(
    rng: np.random.Generator,
    truth: dict[str, float],
    snr: float,
    times: dict[str, Any],
    flips: dict[str, float],
    tr: float,
) -> Any:
    """Rician echoes of one tissue (float32), and the noise; SNR is that of the PDw signal at TE = 0."""
    decay = np.exp(-tr * truth["R1"])
    starts = {}
    for name in CONTRASTS:
        angle = np.deg2rad(flips[name])
        kept = 1 - (truth["MTsat"] / 100 if name == "MTw" else 0)
        starts[name] = truth["A"] * np.sin(angle) * (1 - decay) / (1 - kept * np.cos(angle) * decay)
    sd = starts["PDw"] / snr
    return {
        name: [
            np.hypot(
                starts[name] * np.exp(-t * truth["R2s"]) + sd * rng.standard_normal(N_VOXELS),
                sd * rng.standard_normal(N_VOXELS),
            ).astype(np.float32)
            for t in times[name]
        ]
        for name in CONTRASTS
    }


def against_truth(seed: int) -> list[dict[str, Any]]:
    """Bias and spread of hMRI's estimators and of the joint fit, per tissue and signal-to-noise ratio."""
    rng = np.random.default_rng(seed)
    flips, tr = {"PDw": 6.0, "T1w": 21.0, "MTw": 6.0}, 0.025
    times = {name: np.arange(1, 7 if name == "MTw" else 9) * 2.34e-3 for name in CONTRASTS}
    excitation = Excitation(flips, dict.fromkeys(CONTRASTS, tr))
    pair = {"flip_pdw_deg": 6.0, "flip_t1w_deg": 21.0, "tr_pdw": tr, "tr_t1w": tr}
    rows: list[dict[str, Any]] = []
    for tissue, truth in TISSUES.items():
        for snr in (10, 15, 20, 30):
            echoes = simulated(rng, truth, snr, times, flips, tr)
            found: dict[str, dict[str, Any]] = {}
            for method in ("ols", "wls1"):
                fit = fit_estatics(echoes, times, method=method)  # type: ignore[arg-type]
                s = {name: image.astype(np.float64) for name, image in fit.intercepts.items()}
                r1, a = maps.r1_and_a(s["PDw"], s["T1w"], **pair)
                mt = maps.mtsat(s["PDw"], s["T1w"], s["MTw"], flip_mtw_deg=6.0, tr_mtw=tr, **pair)
                found[f"hMRI {method}"] = {"R1": r1, "A": a, "R2s": fit.r2s, "MTsat": mt}
            found["joint"] = fit_joint(echoes, times, excitation).maps
            for way, images in found.items():
                rows += [
                    {"tissue": tissue, "snr": snr, "map": name, "way": way, **scores(images[name], value)}
                    for name, value in truth.items()
                ]
    return rows


def scores(image: NDArray[np.floating], truth: float) -> dict[str, float]:
    """Bias, spread and error of estimates, in percent.

    ``spread`` is what is compared: the SD, or SD over mean for an estimator that has a small SD for being too small.
    """
    values = image[np.isfinite(image)].astype(np.float64)
    mean, sd = float(values.mean()), float(values.std())
    return {
        "bias": 100 * (mean / truth - 1),
        "sd": 100 * sd / truth,
        "spread": 100 * sd / min(mean, truth),
        "rmse": 100 * float(np.sqrt(((values - truth) ** 2).mean())) / truth,
    }


def judge(differences: list[dict[str, Any]], accuracy: list[dict[str, Any]]) -> list[str]:
    """Name what was missed."""
    missed = [f"{row['output']}: largest difference {row['largest']:.1e}" for row in differences
              if row.get("largest", 0) > WANTED_DIFFERENCE]  # fmt: skip
    by = {(row["tissue"], row["snr"], row["map"], row["way"]): row for row in accuracy}
    for (tissue, snr, name, way), row in by.items():
        # CSF's MTsat is a tenth of a percent unit: its relative numbers say nothing.
        if way != "joint" or snr > 20 or tissue == "CSF":
            continue
        other = by[tissue, snr, name, "hMRI wls1"]
        chance = 3 * row["sd"] / np.sqrt(N_VOXELS)
        if abs(row["bias"]) > abs(other["bias"]) + chance:
            missed.append(f"{tissue} {name} at SNR {snr}: bias {row['bias']:.2f} %, hMRI {other['bias']:.2f} %")
        # A thousandth is rounding: what two estimators share of the noise does not tell them apart further.
        if row["spread"] > other["spread"] * 1.001:
            missed.append(f"{tissue} {name} at SNR {snr}: spread {row['spread']:.2f} %, hMRI {other['spread']:.2f} %")
    return missed


def main() -> int:
    """Compare, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, default=REFERENCE)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    there = options.reference.exists()
    differences = against_hmri(options.reference) if there else []
    if not there:
        print(f"no reference at {options.reference}: part one is left out")
    for row in differences:
        print(
            f"{row['output']:72s} " + (row.get("note") or f"median {row['median']:.1e}  largest {row['largest']:.1e}")
        )
    accuracy = against_truth(options.seed)
    print(f"{'tissue':7s}{'SNR':4s}{'map':7s}{'way':11s}{'bias %':>8s}{'SD %':>8s}{'spread %':>10s}{'RMSE %':>8s}")
    for row in accuracy:
        print(f"{row['tissue']:7s}{row['snr']:<4d}{row['map']:7s}{row['way']:11s}{row['bias']:8.2f}{row['sd']:8.2f}"
              f"{row['spread']:10.2f}{row['rmse']:8.2f}")  # fmt: skip
    missed = judge(differences, accuracy)
    if options.json:
        options.json.write_text(json.dumps({"hmri": differences, "truth": accuracy, "missed": missed}, indent=2) + "\n")
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
