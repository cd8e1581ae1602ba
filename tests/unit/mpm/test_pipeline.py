from __future__ import annotations

import numpy as np
import pytest

from plastimap.images import Volume, read_sidecar, read_volume
from plastimap.mpm.b1 import b1_on_grid, b1_ratio
from plastimap.mpm.foreground import foreground
from plastimap.mpm.pipeline import MpmSettings, fit_maps
from plastimap.mpm.protocol import Protocol

TIMES = {"PDw": np.arange(1, 9) * 2.34e-3, "T1w": np.arange(1, 9) * 2.34e-3, "MTw": np.arange(1, 7) * 2.34e-3}
PROTOCOL = Protocol(TIMES, {"PDw": 6.0, "T1w": 21.0, "MTw": 6.0}, {"PDw": 0.0245, "T1w": 0.0245, "MTw": 0.0245})
SHAPE = (12, 11, 10)


def simulate(rng, *, f=1.0, sd=0.0):
    """Echoes of a cuboid in air, with its truth; the MT-weighted signal is the small-angle one."""
    truth = {"R1": rng.uniform(0.5, 1.2, SHAPE), "R2s": rng.uniform(10, 40, SHAPE), "MTsat": rng.uniform(0.5, 2, SHAPE)}
    inside = np.zeros(SHAPE, dtype=bool)
    inside[2:-2, 2:-2, 2:-2] = True
    echoes = {}
    for name, flip in PROTOCOL.flip_deg.items():
        angle, tr = np.deg2rad(flip) * f, PROTOCOL.tr[name]
        decay = np.exp(-tr * truth["R1"])
        start = 5000 * np.sin(angle) * (1 - decay) / (1 - np.cos(angle) * decay)
        if name == "MTw":
            recovery, saturation = truth["R1"] * tr, truth["MTsat"] / 100 * f**2 * (1 - 0.4 * f) / 0.6
            start = 5000 * angle * recovery / (recovery + angle**2 / 2 + saturation)
        clean = [np.where(inside, start * np.exp(-t * truth["R2s"]), 0) for t in TIMES[name]]
        echoes[name] = [np.hypot(c + rng.normal(0, sd, SHAPE), rng.normal(0, sd, SHAPE)) if sd else c for c in clean]
    return echoes, truth, inside


@pytest.mark.parametrize("f", [0.85, 1.0, 1.15])
def test_whole_chain_finds_the_truth(rng, f):
    echoes, truth, inside = simulate(rng, f=f)
    made = fit_maps(echoes, PROTOCOL, b1=np.full(SHAPE, f))
    np.testing.assert_array_equal(made.mask, inside)
    np.testing.assert_allclose(made.maps["R2s"][inside], truth["R2s"][inside], rtol=1e-5)
    np.testing.assert_allclose(made.maps["R1"][inside], truth["R1"][inside], rtol=1e-3)
    np.testing.assert_allclose(made.maps["A"][inside], 5000, rtol=1e-3)
    # Small-angle MTw against the exact others, and nominal angles before the correction: 2 % at B1 = 0.85 and 1.15.
    np.testing.assert_allclose(made.maps["MTsat"][inside], truth["MTsat"][inside], rtol=0.03)
    assert np.isnan(made.maps["R1"][~inside]).all()
    assert made.maps["R1"].dtype == np.float32
    assert not made.notes


def test_without_b1_the_notes_say_so(rng):
    echoes, truth, inside = simulate(rng, f=0.9)
    made = fit_maps(echoes, PROTOCOL)
    assert any("no B1+ map" in note for note in made.notes)
    np.testing.assert_allclose(made.maps["R1"][inside], truth["R1"][inside] / 0.81, rtol=0.02)


def test_unicort_corrects_r1_but_not_mtsat(rng):
    echoes, _, inside = simulate(rng)
    plain = fit_maps(echoes, PROTOCOL)
    made = fit_maps(echoes, PROTOCOL, MpmSettings(unicort=True), voxel_size=(4.0, 4.0, 4.0))
    assert any("inferred" in note for note in made.notes)
    np.testing.assert_array_equal(made.maps["MTsat"], plain.maps["MTsat"])
    assert not np.array_equal(made.maps["R1"][inside], plain.maps["R1"][inside])


@pytest.mark.parametrize(
    ("present", "maps"),
    [
        (("PDw", "T1w"), {"R1", "R2s", "A"}),
        (("PDw", "MTw"), {"R2s", "MTR"}),
        (("T1w", "MTw"), {"R2s"}),
        (("PDw",), {"R2s"}),
        (("PDw", "T1w", "MTw"), {"R1", "R2s", "A", "MTsat", "MTR"}),
    ],
)
def test_what_is_missing_leaves_out_what_needs_it(rng, present, maps):
    echoes, _, _ = simulate(rng)
    made = fit_maps({name: echoes[name] for name in present}, PROTOCOL)
    assert set(made.maps) == maps
    assert ("R1" in maps) == (not any("R1 and A need" in note for note in made.notes))


def test_mtr_needs_equal_flip_angles(rng):
    echoes, _, _ = simulate(rng)
    protocol = Protocol(TIMES, {**PROTOCOL.flip_deg, "MTw": 9.0}, PROTOCOL.tr)
    assert "MTR" not in fit_maps(echoes, protocol).maps


def test_implausible_values_are_nan_and_counted(rng):
    echoes, _, inside = simulate(rng)
    place = tuple(np.argwhere(inside)[5])
    for image in echoes["T1w"]:
        image[place] *= 4  # R1 far beyond 2 /s
    other = tuple(np.argwhere(inside)[40])
    echoes["PDw"][2][other] = 0
    made = fit_maps(echoes, PROTOCOL)
    assert np.isnan(made.maps["R1"][place])
    assert made.qa["n_out_of_range_R1"] == 1
    assert made.qa["n_invalid_signal"] == 1
    assert np.isnan(made.maps["R2s"][other])
    assert np.isfinite(made.maps["R2s"][place])


def test_b1_holes_leave_holes_in_r1_only(rng):
    echoes, _, inside = simulate(rng)
    b1 = np.ones(SHAPE)
    place = tuple(np.argwhere(inside)[5])
    b1[place] = np.nan
    made = fit_maps(echoes, PROTOCOL, b1=b1)
    assert np.isnan(made.maps["R1"][place])
    assert np.isfinite(made.maps["R2s"][place])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tr": {"PDw": 24.5, "T1w": 24.5, "MTw": 24.5}}, "seconds"),
        ({"flip_deg": {"PDw": 21.0, "T1w": 6.0, "MTw": 6.0}}, "interchanged"),
        ({"flip_deg": {"PDw": 6.0, "T1w": 21.0}}, "MTw: flip angle"),
        ({"flip_deg": {"PDw": 6.0, "T1w": 210.0, "MTw": 6.0}}, "between 0 and 90"),
    ],
)
def test_impossible_protocols_are_refused(rng, change, words):
    echoes, _, _ = simulate(rng)
    protocol = Protocol(**({"echo_times": TIMES, "flip_deg": PROTOCOL.flip_deg, "tr": PROTOCOL.tr} | change))
    with pytest.raises(ValueError, match=words):
        fit_maps(echoes, protocol)


def test_unknown_contrasts_and_empty_masks_are_refused(rng):
    echoes, _, _ = simulate(rng)
    with pytest.raises(ValueError, match="known are PDw"):
        fit_maps(echoes | {"T2w": echoes["PDw"]}, PROTOCOL)
    with pytest.raises(ValueError, match="no voxel to fit"):
        fit_maps(echoes, PROTOCOL, mask=np.zeros(SHAPE))
    with pytest.raises(ValueError, match="no voxel to fit"):
        fit_maps({name: [0 * image for image in images] for name, images in echoes.items()}, PROTOCOL)


def test_foreground_keeps_the_object_and_its_holes_but_no_noise(rng):
    echoes, _, inside = simulate(rng, sd=4)
    echoes["PDw"][0][5, 5, 5] = np.nan
    found = foreground(echoes)
    assert found[inside].all()
    assert np.count_nonzero(found & ~inside) < 0.01 * np.count_nonzero(inside)


@pytest.fixture(scope="module")
def cube(shared):
    """The semi-synthetic cube's echoes, protocol, B1+ and truth."""
    folder = shared / "data" / "mpm-cube-hmri-example"
    echoes, times, flips, trs = {}, {}, {}, {}
    for file in sorted((folder / "sub-01" / "anat").glob("*.nii.gz")):
        about = read_sidecar(file)
        name = "MTw" if about["MTState"] else "PDw" if about["FlipAngle"] < 10 else "T1w"
        echoes.setdefault(name, []).append(read_volume(file).data)
        times.setdefault(name, []).append(about["EchoTime"])
        flips[name], trs[name] = about["FlipAngle"], about["RepetitionTimeExcitation"]
    b1_file = folder / "sub-01" / "fmap" / "sub-01_TB1map.nii.gz"
    measured = read_volume(b1_file)
    ratio = b1_ratio(measured.data, read_sidecar(b1_file)["Units"])
    b1 = b1_on_grid(Volume(ratio, measured.affine), measured)
    names = {"R1": "R1map", "R2s": "R2starmap", "MTsat": "MTsat"}
    truth = {name: read_volume(folder / "truth" / f"{file}.nii.gz").data for name, file in names.items()}
    return echoes, Protocol(times, flips, trs), b1, truth


@pytest.mark.shared
def test_cube_has_little_bias(cube):
    echoes, protocol, b1, truth = cube
    made = fit_maps(echoes, protocol, MpmSettings(b1_correction="none"), b1=b1)
    assert made.mask.all()
    where = (truth["R1"] > 0.3) & (truth["R1"] < 2) & (truth["R2s"] > 5) & (truth["MTsat"] > 0.2)
    # First-echo SNR is about 11: the absolute error is mostly noise, the signed one is what we answer for.
    for name, limit in {"R2s": 0.02, "R1": 0.05, "MTsat": 0.05}.items():
        error = (made.maps[name][where] / truth[name][where]) - 1
        signed, absolute = np.nanmedian(error), np.nanmedian(np.abs(error))
        print(f"{name}: median error {100 * signed:+.2f} %, median absolute error {100 * absolute:.2f} %")
        assert abs(signed) < limit
        assert np.mean(np.isnan(error)) < 0.01
