"""Error rates and power, with their intervals: figures of the benches and of ``plastimap power``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.figure import Figure

from plastimap.report.style import OKABE_ITO, RULE, SOFT, axes_grid, new_figure

if TYPE_CHECKING:
    import pandas as pd

ROW_INCHES = 0.28


class Rate(NamedTuple):
    """A share with its 95 % interval, of one way in one setting."""

    way: str
    setting: str
    rate: float
    low: float
    high: float


def rates_figure(rates: Sequence[Rate], *, nominal: float | None, label: str) -> Figure:
    """Rates side by side, a line per way and a mark per setting.

    Parameters
    ----------
    rates : sequence of Rate
    nominal : float or None
        Where they should be: a line.
    label : str
        Of the axis.
    """
    ways = list(dict.fromkeys(rate.way for rate in rates))
    settings = list(dict.fromkeys(rate.setting for rate in rates))
    figure = new_figure(7.2, 1.0 + ROW_INCHES * len(ways) * max(1, len(settings) * 0.7))
    axes = axes_grid(figure, 1, 1)[0][0]
    for number, setting in enumerate(settings):
        own = [rate for rate in rates if rate.setting == setting]
        places = [ways.index(rate.way) + 0.22 * (number - (len(settings) - 1) / 2) for rate in own]
        middle = [rate.rate for rate in own]
        reach = [[rate.rate - rate.low for rate in own], [rate.high - rate.rate for rate in own]]
        axes.errorbar(middle, places, xerr=reach, fmt="os^D"[number % 4], color=OKABE_ITO[number % len(OKABE_ITO)],
                      markersize=5, linewidth=1.4, label=setting)  # fmt: skip
    if nominal is not None:
        axes.axvline(nominal, color=SOFT, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(ways)), ways)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel(label)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    if len(settings) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(settings))
    return figure


def power_figure(table: pd.DataFrame, *, title: str, wanted: float = 0.8) -> Figure:
    """Power against people per group.

    Parameters
    ----------
    table : DataFrame
        Of :func:`plastimap.stats.power.sample_sizes`.
    title : str
    wanted : float
        A line.
    """
    figure = new_figure(5.2, 3.4)
    axes = axes_grid(figure, 1, 1)[0][0]
    sizes, power = table["n_per_group"].to_numpy(), table["power"].to_numpy()
    reach = [power - table["power_low"].to_numpy(), table["power_high"].to_numpy() - power]
    axes.errorbar(sizes, power, yerr=reach, fmt="o-", color=OKABE_ITO[0], markersize=5, linewidth=1.4, capsize=3)
    axes.axhline(wanted, color=SOFT, linewidth=1, linestyle="--")
    axes.set_ylim(0, 1.02)
    axes.set_xticks(sizes)
    axes.set_xlabel("people per group")
    axes.set_ylabel("power (95 % interval)")
    axes.set_title(title, loc="left")
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    return figure
