"""The graph network: its layout, that nothing crosses regions, and that training finds ages (with PyTorch)."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from plastimap.brainage.gcn import MEMBERS, WIDTH, GraphNetwork, blocks, fit_gcn, layout_of
from plastimap.brainage.model import Settings, apply, train
from plastimap.brainage.parcels import Parcels
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.regionwise import GLOBAL
from plastimap.brainage.storage import load_model, save_model
from plastimap.brainage.tables import ParcelTable


def untrained(parcels: Parcels, rng: np.random.Generator, *, whole_graph: bool = False) -> GraphNetwork:
    layout = layout_of(parcels, whole_graph=whole_graph)
    (b, m), r, d, k = layout.slots.shape, len(parcels.regions), WIDTH, MEMBERS
    pool = (k, r, m, d) if whole_graph else (k, b, m, d)
    shapes = {"nodes": (k, b, m, d), "nodes_bias": (k, b, m, d), "hidden": (k, d, d), "hidden_bias": (k, d),
              "pool": pool, "covariates": (k, r, 1, d), "head": (k, r, d, 2), "brain": (k, r, d, 2),
              "bias": (k, r + 1, 2)}  # fmt: skip
    weights = {name: 0.3 * rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    p = len(parcels.names)
    frame = (np.append(np.full(p, 2.5), 0.5), np.append(np.full(p, 0.2), 0.5))
    return GraphNetwork((*parcels.regions, GLOBAL), layout, weights, *frame, 3.7, 0.4)


def moved(network: GraphNetwork, parcels: Parcels, rng: np.random.Generator) -> np.ndarray:
    """Largest change of every region's age (columns) when the parcels of another (rows) move."""
    values, sex = rng.normal(2.5, 0.2, (20, len(parcels.names))), np.ones((20, 1))
    before, rows = network.predict(values, sex)[0], []
    for region in parcels.regions:
        other = values.copy()
        other[:, parcels.members(region)] -= 0.4
        rows.append(np.abs(network.predict(other, sex)[0] - before).max(axis=0))
    return np.array(rows)


def test_messages_stay_inside_regions(parcels: Parcels, rng: np.random.Generator) -> None:
    change = moved(untrained(parcels, rng), parcels, rng)[:, :-1]
    assert change[~np.eye(6, dtype=bool)].max() < 1e-6
    assert np.diag(change).min() > 1e-2


def test_the_whole_graph_leaks_as_it_says(parcels: Parcels, rng: np.random.Generator) -> None:
    change = moved(untrained(parcels, rng, whole_graph=True), parcels, rng)[:, :-1]
    assert change[~np.eye(6, dtype=bool)].max() > 1e-3


def test_blocks_hold_every_parcel_once(parcels: Parcels) -> None:
    layout = layout_of(parcels)
    assert sorted(layout.slots[layout.slots >= 0]) == list(range(24))
    assert blocks(np.arange(24.0)[None], layout.slots).sum() == sum(range(24))
    np.testing.assert_allclose(layout.adjacency, layout.adjacency.transpose(0, 2, 1))
    assert layout.pooling.sum() == 24


def test_a_missing_parcel_costs_its_region_alone(parcels: Parcels, rng: np.random.Generator) -> None:
    values = rng.normal(2.5, 0.2, (2, 24))
    values[0, 0] = np.nan
    age = untrained(parcels, rng).predict(values, np.ones((2, 1)))[0]
    assert np.isnan(age[0]).tolist() == [True, *[False] * 5, True]
    assert np.isfinite(age[1]).all()


def test_how_far_apart_members_are_is_told_beside_their_sd(parcels: Parcels, rng: np.random.Generator) -> None:
    network, values, sex = untrained(parcels, rng), rng.normal(2.5, 0.2, (5, 24)), np.ones((5, 1))
    alike = {name: np.repeat(one[:1], MEMBERS, axis=0) for name, one in network.weights.items()}
    before = replace(network, weights=alike).predict(values, sex)
    np.testing.assert_allclose(before.members, 0, atol=1e-6)
    bias, steps = alike["bias"].copy(), np.linspace(-1, 1, MEMBERS)
    bias[:, :, 0] += steps[:, None]
    after = replace(network, weights={**alike, "bias": bias}).predict(values, sex)
    np.testing.assert_allclose(after.age, before.age, rtol=1e-5)
    np.testing.assert_allclose(after.sd, before.sd, rtol=1e-5)
    np.testing.assert_allclose(after.members[:, 0, 0], 0.4 * steps, atol=1e-6)
    np.testing.assert_allclose(after.apart / after.age, 0.4 * steps.std(), rtol=1e-5)


def test_a_network_on_disk_says_the_same(
    parcels: Parcels, healthy: ParcelTable, others: ParcelTable, rng: np.random.Generator, tmp_path: Path
) -> None:
    ridge = train(healthy, Settings(method="ridge"))
    model = replace(ridge, engine=untrained(parcels, rng), settings=Settings(method="gcn"))
    save_model(tmp_path / "model.safetensors", model, data="simulated", licence="none")
    again, before = apply(load_model(tmp_path / "model.safetensors"), others), apply(model, others)
    for name in ("age", "sd", "lower", "upper"):
        np.testing.assert_allclose(getattr(again, name), getattr(before, name), rtol=1e-10)


def test_edges_are_needed(parcels: Parcels) -> None:
    bare = Parcels(parcels.names, parcels.hemispheres, parcels.networks)
    with pytest.raises(BrainageProblem, match="edges"):
        fit_gcn(np.zeros((4, 24)), np.zeros((4, 1)), np.full(4, 50.0), bare, groups=np.arange(4))


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
def test_without_pytorch_it_says_what_to_install(healthy: ParcelTable) -> None:
    with pytest.raises(BrainageProblem, match=r"plastimap\[gcn\]"):
        train(healthy, Settings(method="gcn"))


def test_trained_it_finds_ages_and_stays_local(
    healthy: ParcelTable, others: ParcelTable, rng: np.random.Generator, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (plastimap[gcn])")
    torch.set_num_threads(1)
    model = train(healthy, Settings(method="gcn"))
    found = apply(model, others)
    error = np.abs(found.age - others.age[:, None]).mean(axis=0)
    # As for the processes: the noise of four parcels is 12 years, guessing the mean 15.
    assert error[:-1].mean() < 12
    assert error[-1] < 9
    assert moved(model.engine, others.parcels, rng)[:, :-1][~np.eye(6, dtype=bool)].max() < 1e-6  # type: ignore[arg-type]
    save_model(tmp_path / "model.safetensors", model, data="simulated", licence="none")
    again = apply(load_model(tmp_path / "model.safetensors"), others)
    np.testing.assert_allclose(again.age, found.age, rtol=1e-6)
    inside = (found.lower <= others.age[:, None]) & (others.age[:, None] <= found.upper)
    assert 0.8 < inside.mean() < 0.98


def test_people_left_out_are_seen_as_they_are_given(healthy: ParcelTable) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed (plastimap[gcn])")
    sex, site = healthy.covariates(("sex",)), healthy.site
    network, left_out = fit_gcn(healthy.values, sex, healthy.age, healthy.parcels, groups=site, epochs=1)
    for one, other in zip(left_out(site, None), left_out(site, healthy.values), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    moved = healthy.values + 0.3
    members = np.exp(network.predict(moved, sex).members) * network.predict(moved, sex).age
    # One of the members has said it: the one that has not seen the site.
    assert np.abs(members - left_out(site, moved)[0]).min(axis=0).max() < 1e-6
    # Of people left out one by one no member of this ensemble can tell: members of another one do.
    others = left_out(healthy.persons, moved)[0]
    assert np.median(np.abs(members - others).min(axis=0)) > 1e-3
