from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plastimap.report.timeline import timeline_figure, timeline_table
from plastimap.report.trajectories import (
    DIFFERENCE,
    Panel,
    change_of,
    course_of,
    courses_of,
    numbers_of,
    trajectory_figure,
)


def scans(rng: np.random.Generator, people: int = 6) -> pd.DataFrame:
    """Everybody has an own level; people of group a gain a tenth per day."""
    rows = [
        (f"sub-{number}", group, session, day, level + (group == "a") * day / 10)
        for number, level in enumerate(rng.normal(10, 2, people))
        for group in ("a" if number < people / 2 else "b",)
        for session, day in (("03", 84.0), ("01", 0.0), ("02", 28.0))
    ]
    return pd.DataFrame(rows, columns=["participant_id", "group", "session", "day", "value"])


def test_bands_cover_the_mean_change(rng: np.random.Generator) -> None:
    hits = 0
    for _ in range(400):
        rows = [(f"s{i}", session, day, value) for i in range(6)
                for session, day, value in (("1", 0.0, 0.0), ("2", 7.0, rng.normal(3, 2)))]  # fmt: skip
        table = pd.DataFrame(rows, columns=["participant_id", "session", "day", "value"])
        course = course_of(change_of(table))
        hits += bool(abs(course.mean[1] - 3.0) < course.half[1])
    # 95 % of 400 is 380; four binomial standard deviations are 17.
    assert hits == pytest.approx(380, abs=17)


def test_change_counts_from_the_first_visit(rng: np.random.Generator) -> None:
    table = scans(rng)
    before = table.copy()
    courses = courses_of(Panel("one", "R1", table, ("a",), ("b",)))
    np.testing.assert_allclose(courses["a"].days, [0, 28, 84])
    np.testing.assert_allclose(courses["a"].mean, [0, 2.8, 8.4])
    np.testing.assert_allclose(courses["b"].mean, 0, atol=1e-12)
    np.testing.assert_allclose(courses["a − b"].mean, [0, 2.8, 8.4])
    assert courses["a"].n == 3
    pd.testing.assert_frame_equal(table, before)


def test_who_misses_the_first_visit_has_no_change(rng: np.random.Generator) -> None:
    table = scans(rng)
    gone = table[~((table["participant_id"] == "sub-0") & (table["session"] == "01"))]
    assert courses_of(Panel("one", "R1", gone))["a"].n == 2


def test_numbers_are_those_of_the_figure(rng: np.random.Generator) -> None:
    panels = [Panel("one", "R1", scans(rng), ("a",), ("b",)), Panel("two", "FA", scans(rng))]
    numbers = numbers_of(panels)
    assert set(numbers["line"]) == {"a", "b", "a − b"}
    figure = trajectory_figure(panels, rest_from=28.0)
    assert figure.axes[1].get_ylabel() == "change in FA"
    lines = [line for line in figure.axes[0].lines if line.get_label() == DIFFERENCE]
    mine = numbers[(numbers["panel"] == 1) & (numbers["line"] == "a − b")]
    np.testing.assert_allclose(lines[0].get_ydata(), mine["change"].to_numpy()[:2])


def test_retention_is_dashed_and_joined(rng: np.random.Generator) -> None:
    figure = trajectory_figure([Panel("one", "R1", scans(rng))], rest_from=28.0)
    drawn = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    solid, dashed = (
        [line.get_xdata().tolist() for line in drawn if line.get_linestyle() == style] for style in ("-", "--")
    )
    assert solid == [[0, 28]] * 2
    assert dashed == [[28, 84]] * 2
    whole = trajectory_figure([Panel("one", "R1", scans(rng))], rest_from=None)
    assert not [line for line in whole.axes[0].lines if line.get_linestyle() == "--" and len(line.get_xdata())]


def test_timeline_of_visits_and_training(rng: np.random.Generator) -> None:
    behaviour = pd.DataFrame({"participant_id": ["sub-0", "sub-1", "sub-0"], "day": [0.0, 0.0, 28.0]})
    table = timeline_table(scans(rng), behaviour, 28.0)
    assert table.loc[table["what"] == "MRI", "start_day"].tolist() == [0, 28, 84]
    assert table.loc[table["what"] == "assessment", "people"].tolist() == [2, 1]
    assert table.loc[table["what"] == "training", "end_day"].tolist() == [28]
    assert timeline_figure(table).axes
    assert set(timeline_table(scans(rng), None, None)["what"]) == {"MRI"}
