"""Alignment by FSL's eddy, where a study has it and wants it (Andersson 2016, doi:10.1016/j.neuroimage.2015.10.019)."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plastimap.dwi.gradients import fsl_to_world, read_gradients, world_to_fsl
from plastimap.dwi.motion import Aligned
from plastimap.images import Volume, read_volume, write_volume
from plastimap.programs import FSL_EDDY, find_program

USUAL_READOUT_S = 0.05
"""Where TotalReadoutTime is missing: without a field it scales eddy's parameters, not its images."""

TOLD_LINES = 5
"""Last lines of what eddy said, when it fails."""


class EddyFailed(RuntimeError):
    """FSL's eddy is not there, or ended with an error."""


@dataclass(frozen=True)
class _Files:
    """Files of one run, in its folder."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        return self.folder / name

    def made(self, ending: str) -> Path:
        """One of eddy's results."""
        return self.folder / f"aligned{ending}"


def align_by_eddy(
    volume: Volume,
    bvals: NDArray[np.float64],
    bvecs: NDArray[np.float64],
    *,
    mask: NDArray[np.bool_],
    phase_encoding: str,
    readout_s: float | None = None,
) -> Aligned:
    """Align a series by FSL's eddy, with replacement of outliers.

    Parameters
    ----------
    volume : Volume, shape (X, Y, Z, N)
    bvals : ndarray, shape (N,)
        s/mm².
    bvecs : ndarray, shape (N, 3)
        Unit vectors in world axes.
    mask : ndarray of bool, shape (X, Y, Z)
        Brain.
    phase_encoding : {"i", "i-", "j", "j-", "k", "k-"}
        BIDS ``PhaseEncodingDirection``.
    readout_s : float, optional
        ``TotalReadoutTime``.

    Returns
    -------
    Aligned

    Raises
    ------
    EddyFailed
    """
    program = find_program(FSL_EDDY)
    if program is None:
        raise EddyFailed(f"dwi.motion is eddy, but none of {', '.join(FSL_EDDY)} is on the PATH; set dwi.motion: true")
    with tempfile.TemporaryDirectory(prefix="eddy-") as folder:
        files = _Files(Path(folder))
        _write(files, volume, bvals, bvecs, mask, phase_encoding, readout_s or USUAL_READOUT_S)
        _run(eddy_command(program, files.folder))
        return _read(files, volume, readout_s)


def eddy_command(program: str, folder: Path) -> list[str]:
    """Call of eddy on the files of a folder."""
    files = {"imain": "series.nii.gz", "mask": "mask.nii.gz", "acqp": "acqparams.txt", "index": "index.txt"}
    files |= {"bvecs": "bvecs", "bvals": "bvals", "out": "aligned"}
    return [program, *(f"--{key}={folder / name}" for key, name in files.items()), "--repol", "--data_is_shelled"]


def _write(
    files: _Files,
    volume: Volume,
    bvals: NDArray[np.float64],
    bvecs: NDArray[np.float64],
    mask: NDArray[np.bool_],
    phase_encoding: str,
    readout_s: float,
) -> None:
    write_volume(files.folder / "series.nii.gz", volume)
    write_volume(files.folder / "mask.nii.gz", Volume(mask, volume.affine))
    np.savetxt(files.bvals, bvals[None], fmt="%g")
    np.savetxt(files.bvecs, world_to_fsl(bvecs, volume.affine).T, fmt="%.8f")
    axis = np.eye(3)["ijk".index(phase_encoding[0])] * (-1 if phase_encoding.endswith("-") else 1)
    np.savetxt(files.folder / "acqparams.txt", np.r_[axis, readout_s][None], fmt="%g")
    np.savetxt(files.folder / "index.txt", np.ones((1, bvals.size)), fmt="%d")


def _run(command: list[str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FSLOUTPUTTYPE": "NIFTI_GZ"}
    made = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    print(made.stdout, made.stderr, sep="\n")
    if made.returncode:
        told = "; ".join((made.stderr or made.stdout).strip().splitlines()[-TOLD_LINES:])
        raise EddyFailed(f"{command[0]} ended with code {made.returncode}: {told}")


def _read(files: _Files, volume: Volume, readout_s: float | None) -> Aligned:
    image = files.made(".nii.gz")
    if not image.exists():
        raise EddyFailed("FSL's eddy ended without an error, but wrote no image")
    _, bvecs = read_gradients(files.bvals, files.made(".eddy_rotated_bvecs"))
    motion = np.atleast_2d(np.loadtxt(files.made(".eddy_parameters")))[:, :6]
    moved = np.atleast_2d(np.loadtxt(files.made(".eddy_movement_rms")))[:, 0]
    # A line of words comes first.
    lost = np.atleast_2d(np.loadtxt(files.made(".eddy_outlier_map"), skiprows=1)) > 0
    data = read_volume(image).data.astype(np.float32)
    notes = ["volumes were aligned by FSL's eddy"]
    if readout_s is None:
        notes.append(f"no TotalReadoutTime: eddy was given {USUAL_READOUT_S:g} s")
    return Aligned(
        data=np.maximum(np.nan_to_num(data), 0),
        bvecs=fsl_to_world(bvecs, volume.affine),
        parameters=motion * np.r_[1, 1, 1, np.rad2deg([1, 1, 1])],
        eddy=np.zeros((len(motion), 3)),
        displacement=moved,
        outliers=tuple((int(n), int(z)) for n, z in np.argwhere(lost)),
        notes=tuple(notes),
    )
