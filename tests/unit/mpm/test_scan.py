"""Repetitions, alignment, denoising and quality of one scan."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from plastimap.images import Volume
from plastimap.mpm.alignment import align_contrasts, reference_head
from plastimap.mpm.b1_maps import measured_b1
from plastimap.mpm.pipeline import MpmSettings
from plastimap.mpm.quality import assess_maps, motion_index
from plastimap.mpm.repetitions import combine_repetitions
from plastimap.mpm.scan import denoised_echoes, process_scan, read_settings

FLIPS = {"PDw": 6.0, "T1w": 21.0, "MTw": 6.0}
TR = 0.025
TIMES = np.arange(1, 7) * 2.34e-3
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
AFFINE[:3, 3] = -60.0
SHAPE = (40, 40, 40)


def phantom():
    """A head of smooth tissue: R1, R2*, amplitude on the grid, 0 amplitude in air."""
    rng = np.random.default_rng(2)
    x = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    head = (x**2 / np.array([0.6, 0.75, 0.65])[:, None, None, None] ** 2).sum(axis=0) < 1
    white = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 3)
    white = 1 / (1 + np.exp(-white / white.std() * 4))
    return {
        "R1": 0.65 + 0.4 * white,
        "R2s": 16 + 6 * white,
        "A": np.where(head, 80 - 11 * white, 0.0),
        "head": head,
        "white": white,
    }


def echo_images(truth, sd=0.0, rng=None, runs=1):
    echoes = {}
    for name, flip in FLIPS.items():
        angle, decay = np.deg2rad(flip), np.exp(-TR * truth["R1"])
        kept = 1 - (0.009 * (1 + truth["white"]) if name == "MTw" else 0)
        start = 100 * truth["A"] * np.sin(angle) * (1 - decay) / (1 - kept * np.cos(angle) * decay)
        clean = [start * np.exp(-t * truth["R2s"]) for t in TIMES]
        echoes[name] = [np.hypot(c + rng.normal(0, sd, SHAPE), rng.normal(0, sd, SHAPE)) if sd else c for c in clean]
    return {name: [image.astype(np.float32) for image in images] for name, images in echoes.items()}


def files(echoes, run=None):
    """Volumes and acquisition of the echoes, as the workflow gives them."""
    volumes = [Volume(image, AFFINE) for images in echoes.values() for image in images]
    names = [name for name, images in echoes.items() for _ in images]
    acquisition = {
        "weighting": names,
        "echo_time_s": [float(t) for images in echoes.values() for t in TIMES[: len(images)]],
        "flip_angle_deg": [FLIPS[name] for name in names],
        "tr_s": [TR] * len(names),
        "run": [run] * len(names),
    }
    return volumes, acquisition


def moved(image, matrix):
    """The image after the head moved: what was at x is now at matrix⁻¹ x."""
    to_voxel = np.linalg.inv(AFFINE) @ matrix @ AFFINE
    return np.maximum(
        ndimage.affine_transform(image.astype(np.float64), to_voxel, order=5, mode="nearest"), 0.0
    ).astype(np.float32)


def motion():
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(2) * np.array([1, 1, 1]) / np.sqrt(3)).as_matrix()
    matrix[:3, 3] = (2.0, 0.0, 0.0)
    return matrix


def test_alignment_undoes_most_of_a_motion_between_contrasts():
    rng = np.random.default_rng(3)
    truth = phantom()
    echoes = echo_images(truth, 8, rng)
    echoes["T1w"] = [moved(image, motion()) for image in echoes["T1w"]]
    inner = ndimage.binary_erosion(truth["head"], iterations=4)

    def error(align):
        made = process_scan(*files(echoes), align=align)
        return np.sqrt(np.nanmean((made.maps["R1"] - truth["R1"])[inner] ** 2)), made

    (with_motion, _), (aligned, made) = error(False), error(True)
    still, _ = error_without_motion(truth, inner)
    # What the motion added to the error of R1 shrinks to a quarter.
    assert aligned - still < 0.25 * (with_motion - still)
    assert made.qa["contrast_displacement_mm"]["T1w"] == pytest.approx(2.6, abs=0.8)
    assert made.qa["contrast_displacement_mm"]["MTw"] < 0.3


def error_without_motion(truth, inner):
    made = process_scan(*files(echo_images(truth, 8, np.random.default_rng(3))), align=False)
    return np.sqrt(np.nanmean((made.maps["R1"] - truth["R1"])[inner] ** 2)), made


def test_what_lies_in_a_lesion_does_not_move_the_match():
    rng = np.random.default_rng(4)
    echoes = echo_images(phantom(), 8, rng)
    echoes["T1w"] = [moved(image, motion()) for image in echoes["T1w"]]
    lesion = np.zeros(SHAPE, dtype=bool)
    lesion[14:22, 16:26, 15:24] = True

    def matrices(seed, **options):
        other = np.random.default_rng(seed)
        hurt = {
            name: [np.where(lesion, image * other.uniform(0.2, 1.8, SHAPE), image) for image in images]
            for name, images in echoes.items()
        }
        return align_contrasts(hurt, AFFINE, **options).transforms

    one, two = matrices(1, lesion=lesion), matrices(2, lesion=lesion)
    plain, other = matrices(1), matrices(2)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
        assert np.abs(plain[name] - other[name]).max() > 0
    # Undone as without the lesion: a sixth of the motion is left at most.
    off = min(np.abs(one["T1w"] - motion())[:3, 3].max(), np.abs(one["T1w"] - np.linalg.inv(motion()))[:3, 3].max())
    assert off < 0.35
    volumes, acquisition = files(echoes)
    assert "lesions were left out of the alignment" in process_scan(volumes, acquisition, lesion=lesion).notes


def test_alignment_leaves_the_reference_and_makes_nothing_up():
    echoes = echo_images(phantom())
    echoes["T1w"] = [moved(image, motion()) for image in echoes["T1w"]]
    echoes["T1w"][0][20, 20, 20] = np.nan
    found = align_contrasts(echoes, AFFINE)
    assert all(one is other for one, other in zip(found.echoes["PDw"], echoes["PDw"], strict=True))
    assert 1 <= np.isnan(found.echoes["T1w"][0][10:30, 10:30, 10:30]).sum() <= 27
    assert set(found.transforms) == {"T1w", "MTw"}


def test_contrasts_without_anything_to_match_stay_where_they_are():
    rng = np.random.default_rng(9)
    echoes = {name: [rng.uniform(50, 60, (12, 12, 12)).astype(np.float32) for _ in TIMES] for name in ("PDw", "T1w")}
    echoes["T1w"] = [np.roll(image, 6, axis=0) * (np.arange(12) < 1)[:, None, None] for image in echoes["T1w"]]
    found = align_contrasts(echoes, AFFINE)
    assert not found.transforms
    assert "T1w could not be matched" in found.notes[0]
    assert found.echoes["T1w"][2] is echoes["T1w"][2]


def test_repetitions_are_combined_and_a_disturbed_one_gives_way():
    rng = np.random.default_rng(5)
    truth = phantom()
    one, other = echo_images(truth, 12, rng), echo_images(truth, 12, rng)
    disturbed = {name: list(images) for name, images in other.items()}
    disturbance = np.where(np.arange(SHAPE[0]) < 20, 1.4, 1.0)[:, None, None].astype(np.float32)
    disturbed["PDw"][3] = disturbed["PDw"][3] * disturbance
    inner = ndimage.binary_erosion(truth["head"], iterations=3)

    def error(*repetitions):
        volumes, acquisition = [], {}
        for number, echoes in enumerate(repetitions, 1):
            more, about = files(echoes, number)
            volumes += more
            acquisition = {key: acquisition.get(key, []) + value for key, value in about.items()}
        made = process_scan(volumes, acquisition, align=False)
        return np.sqrt(np.nanmedian((made.maps["R1"] - truth["R1"])[inner] ** 2)), made

    single, _ = error(one)
    both, made = error(one, other)
    # √½ with known errors; those that 18 degrees of freedom tell shift the weights about.
    assert both < 0.9 * single
    assert made.qa["n_repetitions"] == 2
    assert any("2 repetitions" in note for note in made.notes)
    with_disturbed, _ = error(one, disturbed)
    assert with_disturbed < 1.1 * single


def test_repetitions_that_differ_in_their_echoes_are_refused():
    one = echo_images(phantom())
    volumes, acquisition = files(one, 1)
    more, about = files({"PDw": one["PDw"][:4]}, 2)
    with pytest.raises(ValueError, match="repetitions differ"):
        process_scan(volumes + more, {key: acquisition[key] + about[key] for key in acquisition})


def test_combination_weights_by_error():
    maps = [np.array([1.0, 1.0, np.nan, np.nan]), np.array([3.0, 3.0, 5.0, np.nan])]
    errors = [np.ones(4), np.array([1.0, 2.0, 1.0, 1.0])]
    combined, error = combine_repetitions(maps, errors)
    np.testing.assert_allclose(combined[:3], [2.0, 1.0, 5.0], atol=0.02)
    assert np.isnan(combined[3])
    np.testing.assert_allclose(error[:3], [np.sqrt(0.5), 1.0, 1.0], rtol=0.02)
    with pytest.raises(ValueError, match="1 error maps"):
        combine_repetitions(maps, errors[:1])


def test_denoising_lowers_the_error_of_r2s():
    rng = np.random.default_rng(6)
    truth = phantom()
    echoes = echo_images(truth, 20, rng)
    inner = ndimage.binary_erosion(truth["head"], iterations=3)
    errors = {}
    for denoise in (False, True):
        made = process_scan(*files(echoes), align=False, denoise=denoise)
        errors[denoise] = np.sqrt(np.nanmean((made.maps["R2s"] - truth["R2s"])[inner] ** 2))
    assert errors[True] < 0.7 * errors[False]
    assert denoised_echoes(echoes)["T1w"][2].shape == SHAPE


def test_motion_index_and_flags():
    rng = np.random.default_rng(7)
    r2s = 20 + rng.normal(0, 1, SHAPE)
    still = {"PDw": r2s + rng.normal(0, 1, SHAPE), "T1w": r2s + rng.normal(0, 3, SHAPE)}
    white = np.ones(SHAPE, dtype=bool)
    found = motion_index(still, r2s, white)
    assert found["PDw"] == pytest.approx(1, rel=0.05)
    assert found["T1w"] == pytest.approx(3, rel=0.05)
    assert motion_index({"PDw": r2s}, r2s, white)["PDw"] == pytest.approx(1, rel=0.05)

    tissues = {name: np.zeros(SHAPE, dtype=np.float32) for name in ("GM", "WM", "CSF")}
    tissues["GM"][:20], tissues["WM"][20:] = 1, 1
    r1 = np.where(tissues["WM"] > 0, 1.5, 0.65) + rng.normal(0, 0.01, SHAPE)
    r1[25, 5:9] = np.nan
    about = assess_maps({"R1": r1, "R2s": r2s}, still, tissues, voxel_size=np.full(3, 1.0))
    assert about["median_R1_GM"] == pytest.approx(0.65, abs=0.01)
    assert 0 < about["missing_share_R1_WM"] < 0.01
    assert [flag for flag in about["flags"] if "R1 of WM" in flag]
    assert not [flag for flag in about["flags"] if "R1 of GM" in flag]
    assert about["motion_index_mean"] == pytest.approx(np.sqrt(5), rel=0.05)


SPOILING = {
    "correct": True, "phase_increment_deg": 50, "gradient_mt_per_m": 26, "gradient_ms": 3.3876, "t2_ms": 70,
    "diffusion_um2_per_ms": 0.8,
}  # fmt: skip
STUDY = {
    "model": "two_step", "r2s_fit": "ols", "small_angle": False, "b1_correction": "helms", "b1_constant": None,
    "unicort": False, "spoiling": SPOILING,
}  # fmt: skip


def test_settings_of_a_study_become_those_of_a_scan():
    _, acquisition = files(echo_images(phantom()))
    assert read_settings(STUDY | {"small_angle": True}, acquisition).spoiling.small_angle
    # The joint fit has no small angles.
    assert not read_settings(STUDY | {"small_angle": True, "model": "joint"}, acquisition).spoiling.small_angle
    assert read_settings(STUDY | {"spoiling": SPOILING | {"correct": False}}, acquisition).spoiling is None
    only = {key: [value for value, name in zip(values, acquisition["weighting"], strict=True) if name == "PDw"]
            for key, values in acquisition.items()}  # fmt: skip
    assert read_settings(STUDY, only).spoiling is None


def test_spoiling_correction_reaches_r1_and_its_error():
    truth = phantom()
    volumes, acquisition = files(echo_images(truth, 4, np.random.default_rng(8)))
    plain = process_scan(volumes, acquisition, MpmSettings(r2s_fit="ols"), align=False)
    corrected = process_scan(volumes, acquisition, read_settings(STUDY, acquisition), align=False)
    ratio = (corrected.maps["R1"] / plain.maps["R1"])[truth["head"]]
    assert abs(np.nanmedian(ratio) - 1) > 0.005
    errors = (corrected.standard_errors["R1"] / plain.standard_errors["R1"])[truth["head"]]
    assert np.nanmedian(errors) == pytest.approx(np.nanmedian(ratio), rel=0.05)


COARSE = np.diag([5.0, 5.0, 5.0, 1.0])
COARSE[:3, 3] = -60.0


def field(points):
    """Transmit field in the head's own coordinates (mm)."""
    return 1.0 + 0.25 * np.cos(points[0] / 25) - 0.15 * np.sin(points[1] / 25)


def head_points(affine, shape, matrix):
    """Where voxels of a scan that was measured after the head moved lie in the head."""
    index = np.indices(shape).reshape(3, -1)
    world = affine[:3, :3] @ index + affine[:3, 3:]
    return (matrix[:3, :3] @ world + matrix[:3, 3:]).reshape(3, *shape)


def b1_images(truth, matrix):
    """Anatomical image and flip angle map (TB1TFL) of a head in another position, on a coarse grid."""
    shape = (24, 24, 24)
    points = head_points(COARSE, shape, matrix)
    voxel = ((points - AFFINE[:3, 3].reshape(3, 1, 1, 1)) / 3.0).reshape(3, -1)
    anatomy = ndimage.map_coordinates(truth["A"] * (1 + truth["white"]), voxel, order=1).reshape(shape)
    volumes = [Volume(image.astype(np.float32), COARSE) for image in (anatomy, 800 * field(points) * (anatomy > 5))]
    empty = [None, None]
    return volumes, {"method": "TB1TFL", "acq": ["anat", "famp"], "flip_angle_deg": [80.0, 80.0], "tr_s": empty,
                     "echo": empty, "flip": empty, "mixing_time_s": empty, "units": empty}  # fmt: skip


def test_b1_goes_with_the_head():
    truth = phantom()
    volumes, acquisition = files(echo_images(truth, 8, np.random.default_rng(4)))
    matrix = motion()
    matrix[:3, 3] = (6.0, -4.0, 0.0)
    images, made_by = b1_images(truth, matrix)
    inner = ndimage.binary_erosion(truth["head"], iterations=3)
    true = field(head_points(AFFINE, SHAPE, np.eye(4)))

    def error(**options):
        ratio, notes = measured_b1(images, made_by, volumes[0], **options)
        return np.abs(ratio - true)[inner].mean(), notes

    still, _ = measured_b1(*b1_images(truth, np.eye(4)), volumes[0])
    least = np.abs(still - true)[inner].mean()
    (left, silent), (matched, notes) = error(), error(head=reference_head(volumes, acquisition["weighting"]))
    # What the motion added to the error shrinks to a quarter.
    assert matched - least < 0.25 * (left - least)
    assert not silent
    shift = float(notes[-1].split("moved by ")[1].split(" mm")[0])
    assert shift == pytest.approx(7.2, abs=0.8)


def test_b1_that_shows_nothing_stays_where_it_is():
    truth = phantom()
    volumes, acquisition = files(echo_images(truth))
    images, made_by = b1_images(truth, np.eye(4))
    images[0] = Volume(np.ones((24, 24, 24), np.float32), COARSE)
    ratio, notes = measured_b1(images, made_by, volumes[0], head=reference_head(volumes, acquisition["weighting"]))
    np.testing.assert_allclose(ratio, measured_b1(images, made_by, volumes[0])[0], atol=0.05)
    assert any("left where it is" in note or "not moved" in note or "moved by" in note for note in notes)


def test_a_receive_field_stays_with_its_contrast(monkeypatch):
    """The coil does not move with the head: each contrast's sensitivity is that of where it was measured."""
    truth = phantom()
    echoes = echo_images(truth)
    points = head_points(AFFINE, SHAPE, np.eye(4))
    coil = (1 + 0.3 * np.sin(points[0] / 30)).astype(np.float32)
    echoes["T1w"] = [moved(image, motion()) for image in echoes["T1w"]]
    seen = {name: [image * coil for image in images] for name, images in echoes.items()}
    inner = ndimage.binary_erosion(truth["head"], iterations=4)
    bare = process_scan(*files(echoes)).maps["R1"]

    def error():
        made = process_scan(*files(seen), receive=dict.fromkeys(FLIPS, coil)).maps["R1"]
        return np.sqrt(np.mean((made - bare)[inner] ** 2))

    carried = error()
    monkeypatch.setattr("plastimap.mpm.scan.moved_field", lambda image, *_: image)
    # The larger part of what is left comes from the match, which the field itself pulls by a fraction of a voxel.
    assert carried < 0.75 * error()
