"""Figures of rates and of power."""

import numpy as np
import pandas as pd
import pytest

from plastimap.report.rates import Rate, power_figure, rates_figure
from plastimap.report.style import to_png, to_svg


@pytest.mark.parametrize("settings", [["even"], ["even", "uneven"]])
def test_rates_with_their_intervals(settings):
    rates = [Rate(way, setting, 0.05, 0.02, 0.09) for setting in settings for way in ("one", "two")]
    figure = rates_figure(rates, nominal=0.05, label="share")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
    assert (axes.get_legend() is not None) == (len(settings) > 1)
    # Every interval is drawn from its lower to its upper end.
    ends = np.array([part.get_segments()[0][:, 0] for part in axes.collections])
    assert np.allclose(ends, [[0.02, 0.09]])
    assert b"share" in to_svg(figure)


def test_power_curve():
    table = pd.DataFrame({"n_per_group": [8, 16], "power": [0.3, 0.9], "power_low": [0.2, 0.8], "power_high": [0.4, 1]})
    figure = power_figure(table, title="R1")
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.3, 0.9]
    assert to_png(figure).startswith(b"\x89PNG")
