from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plastimap.stats.families import FAMILY, correct, correct_families
from plastimap.stats.problems import StatsProblem


def rows(*families: tuple[str, float], column: str = "min_p") -> pd.DataFrame:
    return pd.DataFrame([dict.fromkeys(FAMILY, "x") | {"map": which, column: p} for which, p in families])


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(correct([0.01, 0.04, 0.03, 0.005], "holm"), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(correct([0.01, 0.5], "bonferroni"), [0.02, 1])
    np.testing.assert_allclose(correct([0.01, 0.5], "none"), [0.01, 0.5])


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_lies_between_the_plain_and_bonferroni(p: list[float]) -> None:
    holm, bonferroni = correct(p, "holm"), correct(p, "bonferroni")
    assert (np.asarray(p) <= holm).all()
    assert (holm <= bonferroni).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(holm[order]) >= 0).all()


def test_correction_runs_over_all_tables_and_empty_families_count() -> None:
    families = [rows(("R1", 0.001), ("FA", 1.0)), rows(("MD", 0.02), ("vbm", 1.0))]
    clusters = [rows(("R1", 0.001), ("R1", 0.3), column="cluster_p_fwe"), rows(("MD", 0.02), column="cluster_p_fwe")]
    found = correct_families(families, clusters, method="holm")
    np.testing.assert_allclose(found.families["min_p_corrected"], [0.004, 1, 0.06, 1])
    np.testing.assert_allclose(found.clusters["cluster_p_corrected"], [0.004, 1, 0.06])
    assert (found.clusters["n_families"] == 4).all()
    assert "cluster_p_corrected" not in clusters[0]


def test_no_cluster_anywhere_still_gives_a_table() -> None:
    empty = rows(("R1", 0.5), column="cluster_p_fwe").iloc[:0]
    found = correct_families([rows(("R1", 1.0))], [empty], method="holm")
    assert len(found.clusters) == 0
    assert "cluster_p_corrected" in found.clusters


def test_tables_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(StatsProblem, match="analysed twice"):
        correct_families([rows(("R1", 1.0)), rows(("R1", 0.1))], [], method="holm")
    with pytest.raises(StatsProblem, match="belongs to no family"):
        correct_families([rows(("R1", 1.0))], [rows(("FA", 0.1), column="cluster_p_fwe")], method="holm")
    with pytest.raises(StatsProblem, match="did you mean 'holm'"):
        correct_families([rows(("R1", 1.0))], [], method="hol")  # type: ignore[arg-type]
    with pytest.raises(StatsProblem, match="no families"):
        correct_families([], [], method="holm")


def test_false_discovery_rate_by_hand() -> None:
    np.testing.assert_allclose(correct([0.01, 0.04, 0.03, 0.005], "fdr"), [0.02, 0.04, 0.04, 0.02])
    found = correct_families(
        [rows(("R1", 0.01), ("FA", 0.04))], [rows(("R1", 0.02), column="cluster_p_fwe")], method="fdr"
    )
    np.testing.assert_allclose(found.families["min_p_corrected"], [0.02, 0.04])
    np.testing.assert_allclose(found.clusters["cluster_p_corrected"], [0.04])


def test_smallest_p_over_families_that_go_together(rng: np.random.Generator) -> None:
    """Families that are copies of one another cost nothing; independent ones cost what they should."""
    null = rng.normal(size=2000)
    p = 0.05  # of the hundredth largest
    tables = [rows(("R1", p)), rows(("FA", p))]
    clusters = [rows(("R1", p), column="cluster_p_fwe"), rows(("FA", 0.5), column="cluster_p_fwe")]
    same = correct_families(tables, clusters, method="min_p", nulls=[null[None], null[None]])
    np.testing.assert_allclose(same.families["min_p_corrected"], p)
    np.testing.assert_allclose(same.clusters["cluster_p_corrected"], [p, 0.5], atol=1e-3)
    other = correct_families(tables, clusters, method="min_p", nulls=[null[None], rng.normal(size=(1, 2000))])
    np.testing.assert_allclose(other.families["min_p_corrected"], 1 - (1 - p) ** 2, rtol=0.06)


def test_smallest_p_needs_resamples_of_all() -> None:
    for nulls in ([], [np.zeros((1, 0))], [np.zeros((2, 9))]):
        with pytest.raises(StatsProblem, match="equally many resamples"):
            correct_families([rows(("R1", 0.5))], [], method="min_p", nulls=nulls)
