from __future__ import annotations

import numpy as np
import pytest

from plastimap.images import Volume
from plastimap.mpm.b1 import b1_on_grid, b1_ratio
from plastimap.mpm.b1_maps import METHODS, measured_b1

SHAPE = (22, 24, 20)
AFFINE = np.diag([6.0, 6.0, 6.0, 1.0])
AFFINE[:3, 3] = (-63, -69, -57)
GRID = Volume(np.zeros((24, 24, 24), np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
BRAIN = np.linalg.norm((np.indices(SHAPE).T - (10.5, 11.5, 9.5)), axis=-1).T < 8


def ratio(points):
    x, y, z = points
    return 1 + 0.2 * np.cos(x / 60) * np.cos(y / 70) - 0.08 * np.sin(z / 55) - 0.1


def world(volume):
    indices = np.indices(volume.shape).reshape(3, -1)
    return (volume.affine[:3, :3] @ indices + volume.affine[:3, 3:]).reshape(3, *volume.shape)


def volumes(*images):
    return [Volume(np.where(BRAIN, image, 0).astype(np.float32), AFFINE) for image in images]


F = ratio(world(Volume(np.zeros(SHAPE), AFFINE)))


def acquisition(method, n, **values):
    keys = ("acq", "echo", "flip", "flip_angle_deg", "tr_s", "mixing_time_s", "units")
    return {"method": method, **{key: [None] * n for key in keys}, **values}


def ready():
    return volumes(100 * F), acquisition("TB1map", 1, units=["percent"])


def afi():
    angle = F * np.deg2rad(60)
    long = np.sin(angle) * (1 + 5 * np.cos(angle)) / (5 + np.cos(angle))
    return volumes(long, np.sin(angle)), acquisition(
        "TB1AFI", 2, acq=["tr2", "tr1"], flip_angle_deg=[60.0, 60.0], tr_s=[0.1, 0.02]
    )


def epi():
    angles, decay = (100.0, 90.0, 80.0, 70.0, 110.0, 60.0), np.exp(-0.0312 / 1.192)
    spin = [np.sin(F * np.deg2rad(angle)) ** 3 for angle in angles]
    stimulated = [decay * se * np.abs(np.cos(F * np.deg2rad(a))) for se, a in zip(spin, angles, strict=True)]
    n = len(angles)
    return volumes(*stimulated, *spin), acquisition(
        "TB1EPI",
        2 * n,
        echo=[2] * n + [1] * n,
        flip=[*range(1, n + 1), *range(1, n + 1)],
        flip_angle_deg=[*angles, *(2 * angle for angle in angles)],
        mixing_time_s=[0.0312] * n + [None] * n,
    )


def turbo_flash():
    return volumes(np.full(SHAPE, 300.0), 800 * F), acquisition(
        "TB1TFL", 2, acq=["anatTest", "fampTest"], flip_angle_deg=[8.0, 80.0]
    )


def rf_map():
    return volumes(2048 + 1024 * F, np.full(SHAPE, 300.0)), acquisition("TB1RFM", 2, acq=["famp", "anat"])


def double_angle():
    images = (np.sin(F * np.deg2rad(120)), np.sin(F * np.deg2rad(60)))
    return volumes(*images), acquisition("TB1DAM", 2, flip=[2, 1], flip_angle_deg=[120.0, 60.0])


MADE = {
    "TB1map": ready,
    "TB1AFI": afi,
    "TB1EPI": epi,
    "TB1TFL": turbo_flash,
    "TB1RFM": rf_map,
    "TB1DAM": double_angle,
}


def test_every_method_has_its_test():
    assert MADE.keys() == METHODS.keys()


@pytest.mark.parametrize("method", MADE)
def test_a_planted_field_is_found_on_another_grid(method):
    found, _ = measured_b1(*MADE[method](), GRID)
    assert found.shape == GRID.shape
    assert found.dtype == np.float32
    inside = np.linalg.norm(world(GRID), axis=0) < 40
    # Half a percent: Gaussian smoothing of 8 mm lowers the cosines by 0.2 %, and interpolation between 6 mm by 0.1 %.
    np.testing.assert_allclose(found[inside], ratio(world(GRID))[inside], atol=0.006)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("TB1EPI", ["T1 1192 ms was assumed", "not corrected for distortion"]),
        ("TB1DAM", ["full recovery"]),
        ("TB1RFM", ["90° was assumed"]),
        ("TB1AFI", []),
        ("TB1map", []),
    ],
)
def test_what_was_assumed_is_told(method, words):
    _, notes = measured_b1(*MADE[method](), GRID)
    assert len(notes) == len(words)
    assert all(any(word in note for note in notes) for word in words)


def test_a_ready_map_is_read_as_ever():
    images, about = ready()
    expected = b1_on_grid(Volume(b1_ratio(images[0].data, "percent"), AFFINE), GRID)
    np.testing.assert_array_equal(measured_b1(images, about, GRID)[0], expected)


def test_what_was_filled_in_is_told():
    images, about = ready()
    everywhere = np.ones(SHAPE, dtype=bool)
    _, notes = measured_b1(images, about, images[0], mask=everywhere)
    assert f"{100 * BRAIN.mean():.0f} % of the voxels" in notes[0]
    assert measured_b1(images, about, images[0], mask=BRAIN)[1] == ()


def test_few_nominal_angles_are_told():
    images, about = epi()
    kept = [i for i, flip in enumerate(about["flip"]) if flip <= 3]
    about = {key: value if key == "method" else [value[i] for i in kept] for key, value in about.items()}
    found, notes = measured_b1([images[i] for i in kept], about, images[0])
    assert any("may be ambiguous" in note for note in notes)
    np.testing.assert_allclose(found[BRAIN], F[BRAIN], atol=0.01)


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        ("TB1AFI", {"tr_s": [0.02, 0.02]}, "two different repetition times"),
        ("TB1AFI", {"tr_s": [0.02, None]}, "no RepetitionTimeExcitation"),
        ("TB1AFI", {"flip_angle_deg": [60.0, 50.0]}, "one flip angle"),
        ("TB1AFI", {"flip_angle_deg": [15.0, 15.0]}, r"implausible: read as TB1AFI.*check FlipAngle"),
        ("TB1EPI", {"echo": [2] * 6 + [1] * 5 + [2]}, "not both echo-1 and echo-2 at flip 6"),
        ("TB1EPI", {"mixing_time_s": [None] * 12}, "no MixingTime"),
        ("TB1EPI", {"flip_angle_deg": [None] * 6 + [180.0] * 6}, "no FlipAngle"),
        ("TB1EPI", {"mixing_time_s": [0.03] * 5 + [0.04] * 7}, "one mixing time"),
        ("TB1TFL", {"acq": ["anat", "x"]}, "one image with acq-famp is wanted, and there are 0"),
        ("TB1TFL", {"flip_angle_deg": [8.0, 8.0]}, "must be that of the saturation pulse"),
        ("TB1TFL", {"flip_angle_deg": [8.0, None]}, "no FlipAngle for the flip angle map"),
        ("TB1RFM", {"acq": ["famp", "famp"]}, "acq-anat is wanted"),
        ("TB1DAM", {"flip_angle_deg": [60.0, 50.0]}, "α and 2α"),
        ("TB1map", {"method": "TB1SRGE"}, r"unknown B1\+ acquisition 'TB1SRGE'"),
    ],
)
def test_acquisitions_that_cannot_be_used(method, changes, words):
    images, about = MADE[method]()
    with pytest.raises(ValueError, match=words):
        measured_b1(images, {**about, **changes}, GRID)


def test_images_on_different_grids_and_no_images_are_refused():
    images, about = afi()
    shifted = Volume(images[1].data, images[1].affine + np.eye(4, k=3))
    with pytest.raises(ValueError, match="different grids"):
        measured_b1([images[0], shifted], about, GRID)
    with pytest.raises(ValueError, match="no image"):
        measured_b1([], about, GRID)
