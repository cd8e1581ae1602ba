"""Where a session shows a lesion or nothing at all: the others stand in, and nothing else is led astray.

Truth is the clean pair: two scans of one brain, which did not change.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.unit.space.phantom import AFFINE, GRID, SHAPE, session_of

from plastimap.images import Volume, write_volume
from plastimap.space.groupwise import Settings
from plastimap.space.lesions import lesion_masks, touched
from plastimap.space.smooth import known_volume, tissue_weighted
from plastimap.space.template import midpoint, register_session
from plastimap.space.tissues import mean_tissues
from plastimap.space.vbm import modulated
from plastimap.transforms import Warp, resample, world_points

CENTRE = (15.0, -10.0, 5.0)
AWAY = np.linalg.norm(world_points(GRID) - np.array(CENTRE).reshape(3, 1, 1, 1), axis=0)
HOLE = AWAY < 12
STILL = Warp(np.zeros((*SHAPE, 3), dtype=np.float32), AFFINE)
SLICES = 24
"""Of 34: how many a session with a cut field of view has."""


@pytest.fixture(scope="module")
def pair(phantom):
    return [session_of(phantom, seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def clean(pair):
    return midpoint([volume for volume, _ in pair], masks=[mask for _, mask in pair])


def damaged(volume, value, hole=HOLE):
    return Volume(np.where(hole, value, volume.data).astype(np.float32), AFFINE)


def change(made):
    return np.log(made.jacobians[1]) - np.log(made.jacobians[0])


def emptied(phantom, hole=HOLE):
    """Tissues as a segmentation leaves them: 0 in the lesion."""
    return {name: damaged(volume, 0, hole) for name, volume in (("GM", phantom.gm), ("WM", phantom.wm))}


def whole(phantom):
    return {"GM": phantom.gm, "WM": phantom.wm}


@pytest.mark.parametrize("value", [9.0, 0.0])
def test_what_is_masked_leads_nothing(pair, clean, value):
    """Metal, bright or void: the change that is found is that of the clean pair, in the lesion, beside it, beyond."""
    volumes, masks = [pair[0][0], damaged(pair[1][0], value)], [mask for _, mask in pair]
    before = volumes[1].data.copy()
    made = midpoint(volumes, masks=masks, lesions=[None, HOLE])
    np.testing.assert_array_equal(volumes[1].data, before)
    inside = clean.mask
    # The noise gives the clean pair .008 all over; the lesion's part of the evidence is missing here.
    assert np.sqrt(np.mean((change(made) - change(clean))[inside] ** 2)) < 0.004
    assert np.abs(change(made) - change(clean))[inside].max() < 0.02


def test_weighted_images_are_scaled_by_sound_tissue(pair, clean):
    large = AWAY < 26
    volumes, masks = [pair[0][0], damaged(pair[1][0], 9.0, large)], [mask for _, mask in pair]
    quick = Settings(coarse_steps=1, fine_steps=0)
    made = midpoint(volumes, masks=masks, lesions=[None, large], equalise=True, settings=quick)
    # In the lesion the image is the sound session alone, at its scale. The tissue that is left beside the lesion has
    # not quite the same median as all of it.
    ratio = np.median((made.template.data / clean.template.data)[clean.mask & (AWAY < 20)])
    assert ratio == pytest.approx(1, abs=0.03)


def test_a_masked_session_is_not_in_the_image(pair, clean):
    volumes, masks = [pair[0][0], damaged(pair[1][0], 9.0)], [mask for _, mask in pair]
    quick = Settings(coarse_steps=1, fine_steps=0)
    made = midpoint(volumes, masks=masks, lesions=[None, HOLE], settings=quick)
    # Noise of one session instead of two, .03, and cubic ringing at the rim.
    assert np.abs(made.template.data - clean.template.data)[HOLE].max() < 0.2
    both = midpoint([damaged(v, 9.0) for v, _ in pair], masks=masks, lesions=[HOLE, HOLE], settings=quick)
    assert both.template.data[AWAY < 8].mean() == pytest.approx(9.0, rel=0.01)


def test_a_lesion_of_a_joining_session_leads_nothing(pair, clean):
    about = {"template_mask": clean.mask, "session_mask": pair[1][1]}
    plain = register_session(clean.template, pair[1][0], **about)[1]
    masked = register_session(clean.template, damaged(pair[1][0], 9.0), **about, session_lesion=HOLE)[1]
    assert np.sqrt(np.mean(np.log(masked / plain)[clean.mask] ** 2)) < 0.004


def test_tissues_come_from_the_session_that_is_sound(phantom):
    sessions, lesions = [whole(phantom), emptied(phantom)], [None, HOLE]
    mean = mean_tissues(sessions, [STILL, STILL], lesions=lesions, brain=phantom.mask, names=["one", "two"])
    for name, truth in whole(phantom).items():
        np.testing.assert_allclose(mean.tissues[name].data, truth.data, atol=1e-6)
    hurt_ml = (HOLE & phantom.mask).sum() * 0.027
    assert mean.notes[0] == f"two has a lesion mask on {hurt_ml:.0f} ml of the brain"
    assert len(mean.notes) == 2
    for order in itertools.permutations(range(2)):
        other = mean_tissues([sessions[i] for i in order], [STILL] * 2, lesions=[lesions[i] for i in order])
        np.testing.assert_allclose(other.tissues["GM"].data, mean.tissues["GM"].data, atol=1e-7)


def test_between_voxels_the_sound_share_counts(phantom):
    shift = np.eye(4)
    shift[0, 3] = 1.3
    moved = {name: Volume(image.data, shift @ AFFINE) for name, image in emptied(phantom).items()}
    mean = mean_tissues([whole(phantom), moved], [STILL, Warp(STILL.displacement, AFFINE, shift)], lesions=[None, HOLE])
    np.testing.assert_allclose(mean.tissues["WM"].data, phantom.wm.data, atol=1e-4)


def test_where_no_session_is_sound_there_is_no_tissue(phantom):
    mean = mean_tissues([emptied(phantom)] * 2, [STILL, STILL], lesions=[HOLE, HOLE], brain=phantom.mask)
    np.testing.assert_array_equal(np.isnan(mean.tissues["GM"].data), HOLE)
    assert "no session shows 7 ml" in mean.notes[-1]
    assert mean_tissues([whole(phantom)] * 2, [STILL, STILL], brain=phantom.mask).notes == ()


def test_a_cut_field_of_view_takes_nothing_away(phantom, pair):
    cut = Volume(pair[1][0].data[:, :, :SLICES].copy(), AFFINE)
    made = midpoint([pair[0][0], cut], masks=[pair[0][1], pair[1][1][:, :, :SLICES]])
    assert made.mask.sum() == pytest.approx(pair[0][1].sum(), rel=0.005)
    short = {name: Volume(image.data[:, :, :SLICES], AFFINE) for name, image in whole(phantom).items()}
    mean = mean_tissues([whole(phantom), short], made.transforms, brain=made.mask, names=["one", "two"])
    above = world_points((made.template.shape, made.template.affine))[2] > AFFINE[2, 3] + 3 * (SLICES + 1)
    truth = resample(phantom.gm, made.template, np.eye(4), validity=False)
    assert mean.tissues["GM"].data[above].sum() == pytest.approx(truth[above].sum(), rel=0.02)
    assert mean.notes[0].startswith("two does not cover")
    # The deformation fades beyond the cut; nothing there pulls at it.
    assert np.abs(change(made))[made.mask].max() < 0.06


def test_smoothed_maps_and_volumes_beside_a_lesion(phantom, pair, clean):
    """Session 2 has metal: volumes are those of the clean pair, and its map is that of what it shows."""
    mean = mean_tissues([whole(phantom), emptied(phantom)], clean.transforms, lesions=[None, HOLE])
    plain = mean_tissues([whole(phantom)] * 2, clean.transforms)
    kept, truth = (modulated(m.tissues["WM"], np.eye(4), GRID, session_jacobian=clean.jacobians[1])
                   for m in (mean, plain))  # fmt: skip
    assert kept[HOLE].sum() == pytest.approx(truth[HOLE].sum(), rel=0.02)
    hurt = touched(HOLE, pair[1][0], GRID, clean.transforms[1])
    image = resample(damaged(pair[1][0], 9.0), GRID, clean.transforms[1])
    found = tissue_weighted(np.where(hurt, np.nan, image), kept, 5, (3, 3, 3))
    wanted = tissue_weighted(resample(pair[1][0], GRID, clean.transforms[1]), truth, 5, (3, 3, 3))
    ring = (AWAY > 12) & (AWAY < 24) & np.isfinite(found) & np.isfinite(wanted)
    # White matter (1.8) and what is left of grey matter (.9) in it: other neighbours, other mean, but no metal (9).
    assert np.abs(found - wanted)[ring].mean() < 0.03
    assert np.nanmax(found) < 2
    assert np.isnan(found[AWAY < 5]).all()
    assert not touched(None, pair[1][0], GRID, clean.transforms[1]).any()


def test_volumes_are_unknown_where_no_session_is_sound(phantom):
    mean = mean_tissues([emptied(phantom)], [STILL], lesions=[HOLE])
    volume = modulated(mean.tissues["WM"], np.eye(4), GRID)
    np.testing.assert_array_equal(np.isnan(volume), HOLE)
    np.testing.assert_allclose(volume[~HOLE], phantom.wm.data[~HOLE], atol=1e-6)
    smooth, truth = known_volume(volume, 6, (3, 3, 3)), known_volume(phantom.wm.data, 6, (3, 3, 3))
    assert np.isnan(smooth[AWAY < 8]).all()
    ring = (AWAY > 12) & (AWAY < 24)
    assert np.abs(smooth - truth)[ring].mean() < 0.02 * truth[ring].mean()


def test_soft_masks_are_cut_at_one_half(tmp_path):
    """A smoothed mask is above 0 far around the lesion."""
    volume = Volume(np.ones((8, 8, 8), dtype=np.float32), np.eye(4))
    soft = np.zeros(volume.shape, dtype=np.float32)
    soft[2:6, 2:6, 2:6], soft[3:5, 3:5, 3:5] = 0.2, 0.9
    file = tmp_path / "sub-01_ses-01_label-lesion_mask.nii.gz"
    write_volume(file, Volume(soft, volume.affine))
    (mask,) = lesion_masks([file], ["sub-01_ses-01"], [volume])
    assert mask.sum() == 8
