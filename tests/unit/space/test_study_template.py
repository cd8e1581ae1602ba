"""A template of several people: their mean shape, whoever comes first; other targets; what leads no match."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.space.phantom import AFFINE, GRID, SHAPE, swelling

from plastimap.images import ImageProblem, Volume, write_volume
from plastimap.space.lesions import lesion_masks, lesions_of_both, pulled_lesions, scan_of
from plastimap.space.mni import Standard, match_tissues, standard_tissues
from plastimap.space.quality import MisplacedProblem, refuse_misplaced, scan_quality
from plastimap.space.study_template import study_template
from plastimap.space.target import read_target, target_of
from plastimap.transforms import Warp, resample, world_points
from plastimap.warpfiles import write_warp

CENTRE = (10.0, -8.0, 6.0)


def _person(phantom, amount):
    """The phantom's tissues, swollen by `amount` at CENTRE (pull map person → phantom)."""
    warp = swelling(CENTRE, amount=-amount, width=14.0)
    return Standard(*(Volume(resample(t, GRID, warp, validity=False), AFFINE) for t in (phantom.gm, phantom.wm)))


@pytest.fixture(scope="module")
def standard(phantom):
    return Standard(phantom.gm, phantom.wm)


@pytest.fixture(scope="module")
def people(phantom):
    return [_person(phantom, amount) for amount in (0.6, 0.0, 0.3)]


@pytest.fixture(scope="module")
def made(people, standard):
    return study_template(people, standard=standard)


BALL = np.linalg.norm(world_points(GRID) - np.array(CENTRE).reshape(3, 1, 1, 1), axis=0) < 24


@pytest.mark.slow
def test_the_template_has_the_mean_shape(phantom, made):
    amounts = (0.0, 0.15, 0.3, 0.45, 0.6)
    difference = [np.abs(made.tissues.wm.data - _person(phantom, a).wm.data)[BALL].mean() for a in amounts]
    # The mean of swellings by 0, 0.3 and 0.6 is 0.3: nearer to the middle than to either end.
    assert np.argmin(difference) in (2, 3)
    assert difference[2] < min(difference[0], difference[4])


@pytest.mark.slow
def test_rounds_settle(made):
    first, *_, last = made.changes
    assert last < 0.3 * first


@pytest.mark.slow
def test_people_agree_in_the_template(people, made):
    def spread(images):
        return np.var(images, axis=0)[BALL].mean()

    warped = []
    for person in people:
        warp = match_tissues(made.tissues, person, np.eye(4))
        warped.append(resample(person.wm, GRID, warp, validity=False))
    # Voxels of 3 mm and a smooth prior leave less than half of it.
    assert spread(warped) < 0.5 * spread([person.wm.data for person in people])


@pytest.mark.slow
def test_order_of_people_does_not_matter(people, standard, made):
    other = study_template([people[2], people[0], people[1]], standard=standard)
    # Sums of float64 in another order, through three rounds of the same registrations.
    np.testing.assert_allclose(other.tissues.gm.data, made.tissues.gm.data, atol=1e-4)


def test_nobody_is_no_template(standard):
    with pytest.raises(ValueError, match="at least one"):
        study_template([], standard=standard)


def test_built_in_target():
    target = read_target(None)
    assert target.standard is standard_tissues()
    assert target.grid(2.0)[0] == (75, 94, 80)


def test_a_target_of_the_users(phantom, tmp_path):
    files = {"GM": tmp_path / "gm.nii.gz", "WM": tmp_path / "wm.nii.gz"}
    for file, tissue in zip(files.values(), (phantom.gm, phantom.wm), strict=True):
        # Percent instead of shares: the maximum counts as 1.
        write_volume(file, Volume(tissue.data * 100, AFFINE))
    target = read_target(files)
    assert 0.5 < target.standard.wm.data.max() <= 1.001
    shape, affine = target.grid(3.0)
    inside = resample(phantom.wm, (shape, affine), np.eye(4), validity=False)
    # The box holds the whole brain.
    assert inside.sum() == pytest.approx(phantom.wm.data.sum(), rel=0.01)
    assert np.allclose(affine[:3, 3] / 3, np.rint(affine[:3, 3] / 3))


def test_a_target_beside_the_middle_is_refused(phantom):
    away = AFFINE.copy()
    away[0, 3] += 60
    with pytest.raises(ImageProblem, match="left and right"):
        target_of(Volume(phantom.gm.data, away), Volume(phantom.wm.data, away), "mine.nii")


def test_what_is_no_probability_is_refused(phantom, tmp_path):
    for name, data in {"GM": phantom.gm.data - 1, "WM": phantom.wm.data}.items():
        write_volume(tmp_path / f"{name}.nii.gz", Volume(data, AFFINE))
    with pytest.raises(ImageProblem, match="not a 3D map of probabilities"):
        read_target({name: tmp_path / f"{name}.nii.gz" for name in ("GM", "WM")})


def test_quality_names_what_is_wrong(phantom, standard):
    tissues = {"GM": phantom.gm.data, "WM": phantom.wm.data}
    ones = np.ones(SHAPE, dtype=np.float32)
    good = scan_quality(tissues, standard, GRID, session_jacobian=ones, brain=phantom.mask)
    assert good["dice_GM"] == good["dice_WM"] == 1
    assert good["notes"] == []
    shifted = {name: np.roll(image, 12, axis=0) for name, image in tissues.items()}
    wild = ones.copy()
    wild[phantom.mask] = 2.0
    wild[18, 20, 17] = -1
    bad = scan_quality(shifted, standard, GRID, session_jacobian=wild, brain=phantom.mask)
    assert bad["dice_WM"] < 0.5
    assert bad["session_folding_share"] == pytest.approx(1 / phantom.mask.sum())
    assert [word in " ".join(bad["notes"]) for word in ("WM overlaps", "local volume", "folds")] == [True] * 3


def test_what_a_scan_does_not_show_counts_neither_way(phantom, standard):
    """Half of the field of view is cut: the other half lies well, and what is not there is told in ml."""
    tissues = {name: image.data.copy() for name, image in (("GM", phantom.gm), ("WM", phantom.wm))}
    for image in tissues.values():
        image[:, :, :17] = np.nan
    ones = np.ones(SHAPE, dtype=np.float32)
    found = scan_quality(tissues, standard, GRID, session_jacobian=ones, brain=phantom.mask)
    assert found["dice_GM"] == found["dice_WM"] == 1
    assert found["not_shown_ml"] == pytest.approx(phantom.mask[:, :, :17].sum() * 0.027, rel=0.02)
    assert "ml of the brain have no values" in found["notes"][0]


@pytest.mark.parametrize(
    ("dice", "folding", "words"),
    [(0.2, 0.0, "GM overlaps"), (0.9, 0.02, "folds at 2.0 %"), (0.1, 0.5, "and its deformation folds")],
)
def test_what_lies_wrong_is_not_passed_on(dice, folding, words):
    with pytest.raises(MisplacedProblem, match=words) as found:
        refuse_misplaced({"GM": dice, "WM": 0.8}, folding, "sub-01_ses-02")
    # What, and the remedy, in one line: that is what the terminal shows.
    assert "sub-01_ses-02 is not where" in str(found.value)
    assert "exclude" in str(found.value)
    assert "\n" not in str(found.value)


def test_what_lies_well_enough_passes():
    refuse_misplaced({"GM": 0.45, "WM": 0.4}, 0.01, "sub-01")


def test_lesions_are_read_by_scan(phantom, tmp_path):
    data = np.zeros(SHAPE, dtype=np.float32)
    data[10:14, 20, 17] = 1
    file = tmp_path / "sub-01_ses-02_label-lesion_mask.nii.gz"
    write_volume(file, Volume(data, AFFINE))
    assert scan_of(file) == "sub-01_ses-02"
    none, mask = lesion_masks([file], ["sub-01_ses-01", "sub-01_ses-02"], [phantom.image, phantom.image])
    assert none is None
    np.testing.assert_array_equal(mask, data > 0)
    shift = np.eye(4)
    shift[0, 3] = 6.0
    write_warp(tmp_path / "sub-01_ses-02_xfm.nii.gz", Warp(np.zeros((*SHAPE, 3), np.float32), AFFINE, shift))
    pulled = pulled_lesions([file], tmp_path, GRID)
    np.testing.assert_allclose(pulled.data, np.roll(data, -2, axis=0), atol=1e-4)
    assert pulled_lesions([], tmp_path, GRID) is None
    # For a session that joins later, those of the template's members, and its own.
    own = tmp_path / "sub-01_ses-03_label-lesion_mask.nii.gz"
    write_volume(own, Volume(data, AFFINE))
    theirs, mine = lesions_of_both([file, own], "sub-01_ses-03", phantom.image, tmp_path, phantom.image)
    np.testing.assert_array_equal(theirs, np.roll(data, -2, axis=0) > 0)
    np.testing.assert_array_equal(mine, data > 0)
    assert lesions_of_both([], "sub-01_ses-03", phantom.image, tmp_path, phantom.image) == (None, None)
