from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from plastimap.report.layout import latex_text, mean_and_sd, tsv
from plastimap.report.paper import Results, cluster_tables, directed, learned
from plastimap.report.paper_people import age_band, behaviour_table, people_table
from plastimap.report.places import place_names, region_of
from plastimap.report.posthoc import Ask, cluster_posthoc, coefficients, compare, visits_at
from plastimap.stats.contrasts import parse_contrast

DAYS = {"01": 0.0, "02": 7.0, "03": 14.0, "04": 28.0, "05": 84.0}
MODEL = {"coding": "quadratic_after_linear", "centre_days": True, "knots": [], "terms": ["linear", "quadratic"]}
PRINTED_TABLE_2 = (
    "roi", "map", "contrast", "p_fwe", "cluster_voxels", "z", "x_mm", "y_mm", "z_mm", "beta_p", "beta_bf01",
    "retention_p", "retention_bf01",
)  # fmt: skip
"""Columns of the printed Table 2 that have the same name in ours."""


def scans(rng: np.random.Generator, slopes: dict[str, float], people: int = 8) -> pd.DataFrame:
    rows = [
        (f"{group}-{i}", group, session, day, 1.0 + slope * day + 0.01 * rng.standard_normal())
        for group, slope in slopes.items()
        for i in range(people)
        for session, day in DAYS.items()
    ]
    return pd.DataFrame(rows, columns=["participant_id", "group", "session", "day", "value"])


def test_coefficients_are_those_of_the_polynomial(rng: np.random.Generator) -> None:
    table = scans(rng, {"a": 0.002})
    found = coefficients(table, "linear", MODEL)
    one = table[table["participant_id"] == "a-3"]
    assert found["a-3"] == pytest.approx(np.polyfit(one["day"], one["value"], 1)[0])
    squares = coefficients(table, "quadratic", MODEL)
    assert squares["a-3"] == pytest.approx(np.polyfit(one["day"], one["value"], 2)[0])


def test_few_visits_tell_no_quadratic_term(rng: np.random.Generator) -> None:
    table = scans(rng, {"a": 0.002})
    gone = table[~((table["participant_id"] == "a-0") & table["session"].isin(["02", "03", "04"]))]
    assert "a-0" not in coefficients(gone, "quadratic", MODEL).index
    assert "a-0" in coefficients(gone, "linear", MODEL).index


def test_comparisons_are_those_of_scipy(rng: np.random.Generator) -> None:
    one, two = rng.normal(0, 1, 9), rng.normal(1, 3, 12)
    found = compare(one, two, paired=False)
    assert found.p == pytest.approx(stats.ttest_ind(one, two, equal_var=False).pvalue)
    paired = compare(np.append(one, np.nan), np.append(two[:9], 1.0), paired=True)
    assert paired.p == pytest.approx(stats.ttest_rel(one, two[:9]).pvalue)
    assert (found.first_mean, found.second_sd) == pytest.approx((one.mean(), two.std(ddof=1)))
    # t = 0, n = 17 and √½: the largest BF01 that a paired test of this size can give (published tables have 3.9).
    # Equivalence at 5 % is the 90 % interval within the margin.
    near, far = rng.normal(0, 1, 60), rng.normal(0.05, 1, 60)
    margin = 0.5 * math.sqrt((near.var(ddof=1) + far.var(ddof=1)) / 2)
    interval = stats.ttest_ind(near, far, equal_var=False).confidence_interval(0.9)
    inside = max(abs(interval.low), abs(interval.high)) < margin
    assert (compare(near, far, paired=False).p_equal < 0.05) == inside
    assert compare(near, near + 3 + 0.1 * far, paired=True).p_equal > 0.99
    even = compare(np.arange(17.0), np.arange(17.0)[::-1], paired=True)
    assert even.bf01 == pytest.approx(4.0, abs=0.1)
    assert math.isnan(compare(one[:1], two, paired=False).p)


def test_posthoc_of_a_planted_change(rng: np.random.Generator) -> None:
    table = scans(rng, {"SCI": 0.003, "CON": 0.003, "NON": 0.0})
    found = cluster_posthoc(table, "linear", Ask(("SCI",), ("CON",), days=(28, 84), model=MODEL))
    assert found["beta_first_mean"] == pytest.approx(0.003, rel=0.1)
    # Alike in both groups, so more evidence for none than for a difference; a rise of 0.168 from day 28 to 84.
    assert found["beta_bf01"] > 1
    assert found["retention_p"] < 1e-4
    assert found["retention_second_mean"] - found["retention_first_mean"] == pytest.approx(0.168, rel=0.1)
    circular = cluster_posthoc(table, "linear", Ask(("SCI",), ("NON",), test_coefficients=False, model=MODEL))
    assert math.isnan(circular["beta_p"])
    assert math.isnan(circular["followup_bf01"])
    assert circular["retention_p"] == found["retention_p"]


def test_visits_nearest_to_the_days(rng: np.random.Generator) -> None:
    table = scans(rng, {"a": 0.0})
    assert visits_at(table, (28, 84)) == ["04", "05"]
    assert visits_at(table[table["day"] < 20], (28, 84)) == ["03", ""]


def clusters() -> pd.DataFrame:
    def row(number: int, **own: object) -> dict[str, object]:
        common = {"cluster": number, "contrast": "change", "test": "SCI <> NON", "map": "R1", "tissue": "WM",
                  "hemisphere": "L", "term": "linear", "direction": ">", "cluster_p_fwe": 0.001,
                  "cluster_p_corrected": 0.04, "k": 50, "peak_z": 5.0, "x": -20.0, "y": -10.0, "z": 30.0,
                  "place": "corticospinal tract L", "warnings": ""}  # fmt: skip
        return common | own

    return pd.DataFrame([
        row(1), row(2, k=80, peak_z=12.0, direction="<"), row(3, k=10), row(4, cluster_p_fwe=0.2),
        row(5, contrast="learning", test="csr_percent_delta in SCI <> 0", direction="<"),
        row(6, contrast="arms", test="UL <> LL"), row(7, term="baseline"), row(8, contrast="matched", test="UL > CON"),
    ])  # fmt: skip


def results(rng: np.random.Generator, posthoc: dict[str, list[str]] | None) -> Results:
    groups = {"SCI": 0.003, "CON": 0.002, "NON": 0.0}
    trajectories = pd.concat([scans(rng, groups).assign(cluster=n, map="R1", tissue="WM") for n in (1, 2, 3)])
    contrasts = [{"name": "change", "test": "SCI <> NON"}, {"name": "arms", "test": "UL <> LL"},
                 {"name": "learning", "test": "csr_percent_delta in SCI <> 0"}]  # fmt: skip
    return Results(clusters(), trajectories, {**MODEL, "contrasts": contrasts}, posthoc, ["matched"], (28, 84), 0.05)


def test_tables_of_the_paper(rng: np.random.Generator) -> None:
    tables = {table.name: table for table in cluster_tables(results(rng, {"first": ["SCI"], "second": ["CON"]}))}
    assert set(tables) == {"table_2", "table_3", "table_4", "table_S2", "table_S3", "table_S4", "table_S5", "table_S6"}
    second = tables["table_2"]
    assert set(PRINTED_TABLE_2) <= set(second.data.columns)
    # The largest of each region, map, parameter and contrast; all of them in the supplement; nothing that is not
    # significant anywhere.
    assert second.data["cluster_voxels"].tolist() == [50, 80]
    assert tables["table_S3"].data["cluster_voxels"].tolist() == [50, 80, 10]
    assert second.data["contrast"].tolist() == ["SCI > NON", "SCI < NON"]
    assert second.shown["z-value"].tolist() == ["5.000", ">10"]
    assert second.data["beta_p"].notna().all()
    assert sum(count for _, count in second.spans) == len(second.shown.columns)
    assert tables["table_3"].data["contrast"].tolist() == ["%CSR improvement (δ), negative"]
    assert tables["table_4"].data["contrast"].tolist() == ["UL > LL"]
    assert tables["table_S2"].data["parameter"].tolist() == ["baseline"]
    assert tables["table_S6"].data["contrast"].tolist() == ["UL > CON"]


def test_groups_of_the_contrast_are_not_tested_twice(rng: np.random.Generator) -> None:
    second = next(table for table in cluster_tables(results(rng, None)) if table.name == "table_2")
    assert second.data["beta_p"].isna().all()
    assert second.data["retention_p"].notna().all()
    assert "circular" in second.note


def test_nothing_found_is_said(rng: np.random.Generator) -> None:
    nothing = results(rng, None)
    weak = nothing.clusters.assign(cluster_p_fwe=0.5)
    table = cluster_tables(Results(weak, None, nothing.model, None, [], (28, 84), 0.05))[0]
    assert table.data.empty
    assert "No cluster reached significance." in table.html
    assert "No cluster reached significance." in table.latex


def test_latex_has_as_many_cells_as_columns(rng: np.random.Generator) -> None:
    table = cluster_tables(results(rng, None))[0]
    lines = [line for line in table.latex.splitlines() if line.endswith(r"\\")]
    body = [line for line in lines if r"\multicolumn" not in line]
    assert {line.replace(r"\&", "").count("&") for line in body} == {len(table.shown.columns) - 1}
    assert table.latex.count("{") == table.latex.count("}")
    assert all(ord(letter) < 128 for letter in table.latex)


def test_words() -> None:
    assert latex_text("50 % & β₁ < 2") == r"50 \% \& $\beta$$_1$ $<$ 2"
    assert mean_and_sd(0.4623, 0.0471) == "0.462 ± 0.047"
    assert mean_and_sd(1.98e-4, 7.63e-4) == "(1.98 ± 7.63) × 10⁻⁴"
    assert mean_and_sd(46.46, 18.94) == "46.5 ± 18.9"
    assert mean_and_sd(math.nan, 1.0) == "–"
    assert mean_and_sd(5.0, 0.0) == "5 ± 0"
    assert learned("rt_ms_gamma") == "RT improvement speed (γ)"
    assert learned("lesion_age") == "lesion age"
    assert directed(parse_contrast("A + B <> C"), "<") == "A + B < C"
    assert tsv(pd.DataFrame({"a": [1.5, np.nan], "b": ["x", "y"]})) == "a\tb\n1.5\tx\nn/a\ty\n"


def people() -> pd.DataFrame:
    return pd.DataFrame({
        "participant_id": ["sub-1", "sub-2", "sub-3"], "group": ["SCI", "SCI", "CON"], "age": [26.4, 30.0, 41.0],
        "ais": ["A", "D", None], "months": [9.0, 73.0, np.nan], "n_sessions": [5, 5, 4],
        "csr_percent_delta": [30.0, 20.0, np.nan],
    })  # fmt: skip


def test_people_with_clinical_columns_are_listed_with_ranges() -> None:
    table = people_table(people())
    assert table.shown["Subject"].tolist() == ["sub-1", "sub-2", "n = 1", "n = 2"]
    assert table.shown["Age (years)"].tolist()[:2] == ["26–30", "26–30"]
    assert "csr_percent_delta" not in table.data.columns
    assert table.shown["months"].tolist()[-1] == "41.0 ± 45.3"
    assert "30.0" not in table.html
    plain = people_table(people().drop(columns=["ais", "months"]))
    assert plain.shown["Subject"].tolist() == ["n = 1", "n = 2"]


@pytest.mark.parametrize(("age", "band"), [(25.0, "21–25"), (25.1, "26–30"), (26.0, "26–30"), (30.0, "26–30")])
def test_age_bands_are_those_of_the_printed_table(age: float, band: str) -> None:
    assert age_band(age) == band


def test_behaviour_table_takes_the_sides_in() -> None:
    tests = pd.DataFrame({"test": ["one-sample"], "outcome": ["csr_percent"], "group": ["all"], "quantity": ["delta"],
                          "n": ["17"], "median": [35.9], "z": [3.621], "p_exact": [2 / 2**17],
                          "p_asymptotic": [0.00029]})  # fmt: skip
    sides = pd.DataFrame({"outcome": ["rt_ms"], "n_left": [17], "n_right": [17], "z": [1.2], "p_exact": [0.24],
                          "p_asymptotic": [0.23]})  # fmt: skip
    table = behaviour_table(tests, sides)
    assert table.shown["z"].tolist() == ["3.621", "1.200"]
    assert table.shown["p (exact)"].tolist() == ["< .001", ".240"]
    assert table.shown["n"].tolist() == ["17", "17 + 17"]


def test_places_by_region() -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -20
    mask = np.zeros((21, 21, 21), dtype=bool)
    mask[4:7, 9:12, 9:12] = True
    regions = [region_of("thalamus", mask, affine)]
    peaks = np.array([[-10.0, 0, 0], [-10, 0, 8], [10, 0, 18], [0, 30, 0]])
    found = place_names(peaks, regions, tolerance_mm=1.8)
    assert found == ["thalamus L", "near thalamus L", "hemisphere R", "midline"]
    assert place_names(peaks[:1], [], tolerance_mm=1.8) == ["hemisphere L"]
