from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.unit.dwi.test_pipeline import run

from plastimap.dwi.eddy import EddyFailed, align_by_eddy, eddy_command
from plastimap.dwi.gradients import fsl_to_world, world_to_fsl
from plastimap.images import Volume
from plastimap.programs import FSL_EDDY, find_program

FAKE = """#!{python}
import json, sys
from pathlib import Path
import nibabel as nib
import numpy as np
given = dict(part.removeprefix("--").split("=") for part in sys.argv[1:] if "=" in part)
if "{fails}":
    sys.exit("EDDY: something went wrong")
series = nib.load(given["imain"])
bvecs = np.loadtxt(given["bvecs"])
assert bvecs.shape == (3, series.shape[3])
assert nib.load(given["mask"]).shape == series.shape[:3]
read = {{name: np.loadtxt(given[name]).tolist() for name in ("acqp", "index", "bvals")}}
Path("{seen}").write_text(json.dumps({{"args": sys.argv[1:], **read}}))
out = given["out"]
data = series.get_fdata(dtype=np.float32) * 2
data[0, 0, 0, 0] = -5
nib.save(nib.Nifti1Image(data, series.affine), out + ".nii.gz")
np.savetxt(out + ".eddy_rotated_bvecs", bvecs[[1, 0, 2]])
n = series.shape[3]
np.savetxt(out + ".eddy_parameters", np.arange(n)[:, None] * np.r_[np.full(3, 0.1), np.full(3, 0.01), np.zeros(10)])
np.savetxt(out + ".eddy_movement_rms", np.arange(n)[:, None] * [0.5, 0.1])
lost = np.zeros((n, series.shape[2]), int)
lost[3, 7] = 1
np.savetxt(out + ".eddy_outlier_map", lost, fmt="%d", header="One row per scan, one column per slice.", comments="")
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a program in eddy's place; what it was called with."""

    def make(*, fails="") -> Path:
        seen = tmp_path / "seen.json"
        program = tmp_path / FSL_EDDY[0]
        program.write_text(FAKE.format(python=sys.executable, seen=seen, fails=fails))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        return seen

    return make


def test_eddy_gets_the_series_and_its_results_are_read(fake, still_phantom):
    seen = fake()
    volume = Volume(still_phantom.data, still_phantom.affine)
    made = align_by_eddy(
        volume,
        still_phantom.bvals,
        still_phantom.bvecs,
        mask=still_phantom.brain,
        phase_encoding="j-",
        readout_s=0.04,
    )
    call = json.loads(seen.read_text())
    assert call["acqp"] == [0, -1, 0, 0.04]
    assert set(call["index"]) == {1}
    assert call["bvals"] == still_phantom.bvals.tolist()
    assert "--repol" in call["args"]
    np.testing.assert_allclose(made.data[5:, 5:, 5:], 2 * volume.data[5:, 5:, 5:], rtol=1e-5)
    assert made.data.min() >= 0
    given = world_to_fsl(still_phantom.bvecs, still_phantom.affine)
    np.testing.assert_allclose(made.bvecs, fsl_to_world(given[:, [1, 0, 2]], still_phantom.affine), atol=1e-6)
    assert made.outliers == ((3, 7),)
    np.testing.assert_allclose(made.displacement, 0.5 * np.arange(14))
    np.testing.assert_allclose(made.parameters[2], [0.2] * 3 + [np.rad2deg(0.02)] * 3)
    assert any("FSL's eddy" in note for note in made.notes)


def test_pipeline_takes_eddy_when_asked(fake, still_phantom):
    fake()
    options = {"denoise": False, "mask": still_phantom.brain, "phase_encoding": "j"}
    made, own = (run(still_phantom, motion=motion, **options) for motion in ("eddy", False))
    assert made.qa["outlier_slices"] == [[3, 7]]
    assert any("TotalReadoutTime" in note for note in made.notes)
    # Its b-vectors have x and y exchanged, and twice the signal leaves diffusivities as they are.
    assert np.nanmedian(made.s0 / own.s0) == pytest.approx(2, rel=0.01)
    assert not np.allclose(np.nan_to_num(made.direction), np.nan_to_num(own.direction), atol=0.1)
    with pytest.raises(ValueError, match="PhaseEncodingDirection"):
        run(still_phantom, motion="eddy", denoise=False, mask=still_phantom.brain)


def test_failure_is_told_in_eddys_words(fake, still_phantom):
    fake(fails="yes")
    volume = Volume(still_phantom.data, still_phantom.affine)
    with pytest.raises(EddyFailed, match="code 1: EDDY: something went wrong"):
        align_by_eddy(volume, still_phantom.bvals, still_phantom.bvecs, mask=still_phantom.brain, phase_encoding="j")


def test_absence_is_told(monkeypatch, tmp_path, still_phantom):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program(FSL_EDDY) is None
    with pytest.raises(EddyFailed, match="on the PATH"):
        align_by_eddy(
            Volume(still_phantom.data, still_phantom.affine),
            still_phantom.bvals,
            still_phantom.bvecs,
            mask=still_phantom.brain,
            phase_encoding="j",
        )


def test_command_is_a_list_of_whole_words(tmp_path):
    folder = tmp_path / "a folder"
    command = eddy_command("/opt/fsl/bin/eddy", folder)
    assert command[0] == "/opt/fsl/bin/eddy"
    assert f"--imain={folder / 'series.nii.gz'}" in command


def test_world_to_fsl_takes_fsl_to_world_back(rng):
    vectors = rng.normal(size=(6, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for affine in (np.diag([2.0, 2, 2, 1]), np.diag([-2.0, 2, 3, 1])):
        np.testing.assert_allclose(fsl_to_world(world_to_fsl(vectors, affine), affine), vectors, atol=1e-12)
