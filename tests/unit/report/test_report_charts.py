from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plastimap.report.charts import far_out, learning_figure, motion_figure
from plastimap.report.matrices import availability_figure, design_figure
from plastimap.report.style import group_colours, to_png, to_svg, within_budget


def test_far_out_is_not_masked_by_its_own_size() -> None:
    # With 10 values no outlier can reach z = 3 by mean and SD: (n − 1)/√n = 2.85.
    values = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 0.98, 1.01, 0.99, 50.0])
    assert far_out(values).tolist() == [False] * 9 + [True]


def test_far_out_of_constants_and_nothing() -> None:
    assert not far_out(np.full(4, 2.0)).any()
    assert not far_out(np.full(4, np.nan)).any()


@pytest.fixture
def behaviour() -> pd.DataFrame:
    rows = [(p, d, s, "csr_percent", 50 + d / 4) for p in ("sub-1", "sub-2") for d in (0, 28, 84) for s in "LR"]
    return pd.DataFrame(rows, columns=["participant_id", "day", "side", "outcome", "value"])


def test_learning_figure_has_a_panel_per_group(behaviour: pd.DataFrame) -> None:
    before = behaviour.copy()
    figure = learning_figure(behaviour, {"sub-1": "SCI", "sub-2": "CON"}, "csr_percent")
    assert [axes.get_title() for axes in figure.axes] == ["CON (n = 1)", "SCI (n = 1)"]
    pd.testing.assert_frame_equal(behaviour, before)


def test_learning_figure_draws_the_fitted_curve(behaviour: pd.DataFrame) -> None:
    fits = pd.DataFrame(
        {"participant_id": ["sub-1"], "outcome": ["csr_percent"], "alpha": [70.0], "delta": [20.0], "gamma": [0.1]}
    )
    figure = learning_figure(behaviour, {}, "csr_percent", fits=fits)
    curves = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 120]
    assert len(curves) == 1
    assert curves[0].get_ydata()[0] == pytest.approx(50.0)


def test_dollars_in_names_are_no_mathematics(behaviour: pd.DataFrame) -> None:
    group = r"$\nothing{$"
    figure = learning_figure(behaviour, {"sub-1": group}, "csr_percent")
    assert group.encode() in to_svg(figure)
    assert to_png(figure)
    table = pd.DataFrame({"participant_id": [group], "session": ["1"], "kind": [group], "present": [True]})
    assert group.encode() in to_svg(availability_figure(table))


def test_svg_is_the_same_bytes_twice(behaviour: pd.DataFrame) -> None:
    one, other = (to_svg(learning_figure(behaviour, {}, "csr_percent")) for _ in range(2))
    assert one == other


def test_motion_with_and_without_parameters() -> None:
    moved = np.linspace(0, 3, 10)
    assert len(motion_figure(moved, limit_mm=2.0).axes) == 1
    assert len(motion_figure(moved, parameters=np.zeros((10, 6)), limit_mm=2.0).axes) == 3


def test_availability_marks_each_gap() -> None:
    table = pd.DataFrame({"participant_id": ["<i>", "<i>", "b", "b"], "session": ["1", "2"] * 2,
                          "kind": "MPM", "present": [True, False, True, True]})  # fmt: skip
    figure = availability_figure(table)
    crosses = figure.axes[0].lines[0]
    assert crosses.get_xydata().tolist() == [[1.5, 0.5]]
    assert b"<i>" not in to_svg(figure)
    # A cell that cannot exist is no gap.
    nowhere = availability_figure(table.iloc[[0, 2, 3]])
    assert len(nowhere.axes[0].lines[0].get_xydata()) == 0


def test_design_figure_scales_columns_alone() -> None:
    matrix = np.array([[1.0, 2000.0], [0.0, -1000.0], [0.0, 0.0]])
    before = matrix.copy()
    shown = design_figure(matrix, ["group", "tiv"]).axes[0].images[0].get_array()
    np.testing.assert_allclose(np.asarray(shown), [[1, 1], [0, -0.5], [0, 0]])
    np.testing.assert_array_equal(matrix, before)


def test_budget_shrinks_only_pictures(rng: np.random.Generator) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4))
    figure.add_axes((0, 0, 1, 1)).imshow(rng.random((300, 300)))
    content = to_png(figure)
    figures = {"a.png": content, "b.png": content, "c.svg": b"<svg/>"}
    limit = len(content)
    fitting = within_budget(figures, limit)
    assert sum(map(len, fitting.values())) <= limit
    assert fitting["c.svg"] == b"<svg/>"
    assert list(fitting) == list(figures)
    assert within_budget(figures, 10 * limit) == figures


def test_group_colours_repeat_after_the_palette() -> None:
    colours = group_colours([f"g{n}" for n in range(9)])
    assert len(set(colours.values())) == 8
    assert colours["g0"] == colours["g8"]
