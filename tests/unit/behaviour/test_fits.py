from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plastimap.behaviour import BehaviourProblem, curve, fit_all

DAYS = np.array([0.0, 7, 14, 28, 84])
CSR = {"better": "higher", "minimum": 0, "maximum": 100}


def table(rng: np.random.Generator, noise: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    truth = pd.DataFrame({"alpha": [70, 75, 80.0, 65], "delta": [20, 30, 40.0, 25], "gamma": [0.1, 0.12, 0.08, 0.1]})
    rows = [
        {"participant_id": f"sub-0{i}", "day": day, "side": side, "outcome": "csr_percent",
         "value": float(curve(day, **one)) + noise * rng.normal()}
        for i, one in enumerate(truth.to_dict("records"), start=1)
        for day in DAYS
        for side in ("left", "right")
    ]  # fmt: skip
    return pd.DataFrame(rows), truth


def test_everybody(rng: np.random.Generator) -> None:
    values, truth = table(rng, noise=0.0)
    fits = fit_all(values, {"csr_percent": CSR, "rt_ms": {"better": "lower"}})
    assert list(fits["participant_id"]) == ["sub-01", "sub-02", "sub-03", "sub-04"]
    assert set(fits["outcome"]) == {"csr_percent"}
    assert fits["delta"].to_numpy() == pytest.approx(truth["delta"].to_numpy(), rel=1e-3)
    # Five days, the two sides of a day being one value.
    assert set(fits["n"]) == {5}


def test_pooling_draws_the_uncertain_towards_the_rest(rng: np.random.Generator) -> None:
    values, _ = table(rng, noise=3.0)
    fits = fit_all(values, {"csr_percent": CSR})
    assert fits["alpha_pooled"].std() <= fits["alpha"].std()
    assert np.log(fits["gamma_pooled"]).std() < np.log(fits["gamma"]).std()
    assert (fits["improvement_pooled"] == fits["delta_pooled"]).all()
    assert fits["days_to_95_pooled"].to_numpy() == pytest.approx(3 / fits["gamma_pooled"].to_numpy())


def test_too_few_people_are_not_pooled(rng: np.random.Generator) -> None:
    values, _ = table(rng, noise=1.0)
    fits = fit_all(values[values["participant_id"] != "sub-04"], {"csr_percent": CSR})
    assert fits["alpha_pooled"].isna().all()
    assert fits["alpha"].notna().all()


def test_a_problem_names_the_person(rng: np.random.Generator) -> None:
    values, _ = table(rng, noise=0.0)
    values.loc[0, "value"] = 250.0
    with pytest.raises(BehaviourProblem, match="sub-01, csr_percent"):
        fit_all(values, {"csr_percent": CSR})


def test_nobody_gives_an_empty_table() -> None:
    empty = pd.DataFrame(columns=["participant_id", "day", "side", "outcome", "value"])
    assert fit_all(empty, {"csr_percent": CSR}).empty
    assert "delta_pooled" in fit_all(empty, {}).columns
