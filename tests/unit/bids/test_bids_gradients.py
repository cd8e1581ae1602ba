from __future__ import annotations

import math

import numpy as np
import pytest

from plastimap.bids.gradients import (
    GradientError,
    Gradients,
    check_gradients,
    count_directions,
    read_bvals,
    read_bvecs,
)


def scheme(rng, n=7):
    vectors = rng.normal(size=(n, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Gradients((0.0, *[1000.0] * n), ((0.0, 0.0, 0.0), *(tuple(v) for v in vectors.tolist())))


def check(gradients, n=8):
    return [one.what for one in check_gradients(gradients, n, file="x", b0_threshold=50)]


def test_a_good_scheme_has_no_problems(rng):
    assert check(scheme(rng)) == []


def test_counts_must_match(rng):
    assert check(scheme(rng), 9) == ["images, b-values and b-vectors do not match"]


@pytest.mark.parametrize("bad", [math.nan, 2.0, 0.0])
def test_weighted_vectors_have_unit_length(rng, bad):
    good = scheme(rng)
    vectors = (*good.bvecs[:-1], tuple(bad * part for part in good.bvecs[-1]))
    assert "b-vectors are not of unit length" in check(Gradients(good.bvals, vectors))


def test_a_b0_needs_no_vector(rng):
    good = scheme(rng)
    assert check(Gradients(good.bvals, ((math.nan,) * 3, *good.bvecs[1:]))) == []


def test_negative_b_values_and_no_b0_are_found(rng):
    good = scheme(rng)
    assert "no b = 0 volume" in check(Gradients((1000.0, *good.bvals[1:]), ((1.0, 0.0, 0.0), *good.bvecs[1:])))
    assert "b-values make no sense" in check(Gradients((-5.0, *good.bvals[1:]), good.bvecs))


def test_six_different_axes_are_needed(rng):
    five = scheme(rng, 5)
    opposite = tuple(tuple(-part for part in vector) for vector in five.bvecs[1:])
    doubled = Gradients((*five.bvals, *[1000.0] * 5), (*five.bvecs, *opposite))
    assert count_directions(doubled.bvecs) == 5
    assert check(doubled, 11) == ["too few diffusion directions"]


def test_vectors_are_read_per_volume(tmp_path):
    (tmp_path / "x.bvec").write_text("0 1 0\n0 0 .6\n0 0 .8\n")
    (tmp_path / "x.bval").write_text("0\n1000\n1000\n")
    assert read_bvecs(tmp_path / "x.bvec") == ((0, 0, 0), (1, 0, 0), (0, 0.6, 0.8))
    assert read_bvals(tmp_path / "x.bval") == (0, 1000, 1000)


@pytest.mark.parametrize(
    ("content", "what"),
    [("0 0 0\n" * 4, "side"), ("1 2\n1\n1 2\n", "table"), ("a b c\n", "numbers"), ("", "empty")],
)
def test_other_forms_are_refused(tmp_path, content, what):
    (tmp_path / "x.bvec").write_text(content)
    with pytest.raises(GradientError, match=what):
        read_bvecs(tmp_path / "x.bvec")
