from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plastimap.stats.design import design_matrix, design_problems


@pytest.fixture
def people() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "participant_id": [f"{n:02d}" for n in range(12)],
            "group": ["SCI UL"] * 5 + ["SCI-LL"] * 4 + ["CON_1"] * 3,
            "age": rng.normal(40, 10, 12).round(1),
            "sex": ["M", "F", "F"] * 4,
            "delta": rng.normal(0, 1, 12).round(2),
        }
    )


def problems(people: pd.DataFrame, **changes: object) -> str:
    options = {"group": "group", "covariates": ["age"], "contrasts": "auto"} | changes
    return "\n".join(design_problems(people, **options))  # type: ignore[arg-type]


def test_groups_are_means_and_covariates_are_centred(people: pd.DataFrame) -> None:
    (design,) = design_matrix(
        people, group="group", covariates=["age", "sex"], contrasts=["SCI UL + SCI-LL > CON_1", "SCI-LL <> 0"]
    )
    assert design.names == ("group CON_1", "group SCI UL", "group SCI-LL", "age", "sex=M")
    np.testing.assert_allclose(design.matrix[:, 3:].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(design.matrix[:, :3].sum(axis=0), [3, 5, 4])
    np.testing.assert_allclose(design.vectors[0], [[-1, 0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(design.vectors[1], [[0, 0, 1, 0, 0]])
    assert design.dof == 12 - 5
    assert design.problems == ()


def test_a_slope_is_fitted_in_its_own_people_only(people: pd.DataFrame) -> None:
    people.loc[2, "delta"] = np.nan
    design, slope = design_matrix(
        people, group="group", covariates=["age"], contrasts=["SCI UL <> CON_1", "delta in SCI UL + SCI-LL <> 0"]
    )
    assert len(design.people) == 12
    assert slope.people == ("00", "01", "03", "04", "05", "06", "07", "08")
    assert slope.names == ("group SCI UL", "group SCI-LL", "delta", "age")
    np.testing.assert_allclose(slope.vectors[0], [[0, 0, 1, 0]])
    assert slope.scale == pytest.approx(people["delta"].iloc[slope.rows].std())
    assert any("02" in note for note in slope.notes)


def test_no_group_column_is_one_group(people: pd.DataFrame) -> None:
    (design,) = design_matrix(people, group=None, covariates=["age"], contrasts="auto")
    assert design.names == ("group all", "age")
    assert design.contrasts[0].test == "all <> 0"


def test_row_order_of_the_table_does_not_change_the_columns(people: pd.DataFrame) -> None:
    one = design_matrix(people, group="group", covariates=["age", "sex"], contrasts="auto")[0]
    other = design_matrix(people[::-1], group="group", covariates=["age", "sex"], contrasts="auto")[0]
    assert one.names == other.names
    np.testing.assert_allclose(other.matrix[::-1], one.matrix, atol=1e-12)


def test_a_covariate_equal_for_everybody_is_left_out_and_said(people: pd.DataFrame) -> None:
    (design,) = design_matrix(people.assign(sex="F"), group="group", covariates=["sex"], contrasts="auto")
    assert design.names == ("group CON_1", "group SCI UL", "group SCI-LL")
    assert any("sex is the same" in note for note in design.notes)


def test_confounding_stops_the_contrast_and_names_the_columns(people: pd.DataFrame) -> None:
    scanner = people.assign(scanner=(people["group"] == "CON_1").astype(int))
    (design,) = design_matrix(
        scanner, group="group", covariates=["scanner"], contrasts=["SCI UL > CON_1", "SCI UL > SCI-LL"]
    )
    assert [contrast.test for contrast in design.contrasts] == ["SCI UL > SCI-LL"]
    assert "scanner" in design.problems[0]
    assert "group CON_1" in design.problems[0]
    assert design.dof == 12 - 3
    assert any("100% of its variance lies between groups" in note for note in design.notes)


def test_near_confounding_is_a_note(people: pd.DataFrame) -> None:
    near = people.assign(age=np.where(people["group"] == "CON_1", 20.0, 70.0) + np.arange(12) / 10)
    (design,) = design_matrix(near, group="group", covariates=["age"], contrasts="auto")
    assert design.problems == ()
    assert any("confounded" in note for note in design.notes)


def test_labels_are_not_covariates_and_dof_are_counted(people: pd.DataFrame) -> None:
    (design,) = design_matrix(
        people.assign(code=[f"x{n}" for n in range(12)]), group="group", covariates=["code"], contrasts="auto"
    )
    assert "looks like a label" in design.problems[0]
    (small,) = design_matrix(people.iloc[[0, 5, 9]], group="group", covariates=[], contrasts="auto")
    assert "no degrees of freedom" in small.problems[0]
    assert small.contrasts == ()


def test_every_problem_is_named_at_once(people: pd.DataFrame) -> None:
    people.loc[3, "age"] = np.nan
    people = pd.concat([people, people.iloc[[0]]])
    text = problems(
        people, covariates=["age", "tvi"], contrasts=["SCI-UL > CON_1", "delt in SCI UL <> 0", "delta <> 0"]
    )
    assert "'00' is listed more than once" in text
    assert "covariate 'age' is missing for 03" in text
    assert "no covariate 'tvi'" in text
    assert "no group 'SCI-UL'; did you mean 'SCI UL'?" in text or "did you mean 'SCI-LL'?" in text
    assert "no column 'delt'; did you mean 'delta'?" in text
    assert "'delta in GROUP <> 0'" in text


def test_missing_groups_and_columns(people: pd.DataFrame) -> None:
    people["group"] = people["group"].astype(object)
    people.loc[4, "group"] = "n/a"
    assert "no group (group) for 04" in problems(people)
    assert "did you mean 'group'?" in problems(people, group="Group")
    assert problems(people.drop(index=4), covariates=["tiv"], contrasts="auto") != ""
    assert (
        design_problems(people.drop(index=4), group="group", covariates=["tiv"], contrasts="auto", computed=["tiv"])
        == []
    )
    assert "also a covariate" in problems(people.drop(index=4), contrasts=["age in SCI UL <> 0"])
    (design,) = design_matrix(people, group="group", covariates=[], contrasts="auto")
    assert design.problems


def test_several_groups_are_tested_together(people: pd.DataFrame) -> None:
    (design,) = design_matrix(people, group="group", covariates=["age"], contrasts=["SCI UL != SCI-LL != CON_1"])
    np.testing.assert_allclose(design.vectors[0], [[0, 1, -1, 0], [-1, 0, 1, 0]])
    assert design.n_tested == 3
