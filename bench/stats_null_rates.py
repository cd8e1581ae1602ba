"""Family-wise error on noise alone, with the paper's groups and visits.

    python bench/stats_null_rates.py [--rounds 200] [--resamples 200] [--seed 1] [--json FILE] [--check] [--figure FILE]

Every round is a study without any effect, with 10 % of visits missing, analysed by every model and way of inference
(contrast: first group against the last, linear change, both directions). A round counts as an error when any cluster
is significant at 5 %. Printed is the share of such rounds with its 95 % interval. The share wanted is 10 % less the
overlap of two directions: each direction is a family of its own, so the printed rate is that of either direction,
averaged. ``--check`` exits 1 where the interval of permutation, of the wild bootstrap lies off 5 %; random field
theory is shown as it is.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from stats_simulation import PAPER_GROUPS, draw, finish, parser, simulate

from plastimap.report.rates import Rate
from plastimap.stats.analysis import analyse
from plastimap.stats.fitted import Inference
from plastimap.stats.power import rate_interval

LEVEL = 0.05


@dataclass(frozen=True)
class Way:
    """A model and a way of inference; `exact`: whether its rate must be the nominal one."""

    name: str
    method: str
    inference: dict[str, Any]
    exact: bool


WAYS = (
    Way("summary, random field", "summary", {"method": "random_field"}, False),
    Way("summary, local random field", "summary", {"method": "local_random_field"}, False),
    Way("pooled, random field", "pooled", {"method": "random_field"}, False),
    Way("sandwich, random field", "sandwich", {"method": "random_field"}, False),
    Way("mixed, random field", "mixed", {"method": "random_field"}, False),
    Way("summary, permutation of cluster mass", "summary", {"method": "permutation", "statistic": "mass"}, True),
    Way("summary, permutation of TFCE", "summary", {"method": "permutation", "statistic": "tfce"}, True),
    Way(
        "sandwich, wild bootstrap of cluster mass", "sandwich", {"method": "wild_bootstrap", "statistic": "mass"}, True
    ),
)


def errors(way: Way, study: Any, resamples: int) -> tuple[int, int]:
    """Families with a significant cluster, and families."""
    result = analyse(
        study.maps,
        study.scans,
        study.participants,
        **study.arguments,
        terms=["linear"],
        contrasts=[{"name": "null", "test": "SCI-UL <> NON"}],
        method=way.method,
        inference=Inference(**way.inference, minimum_extent=1, resamples=resamples),
    )
    return int((result.families["min_p"] <= LEVEL).sum()), len(result.families)


def main() -> int:
    """Simulate, count, judge."""
    options_of = parser(__doc__)
    options_of.add_argument("--rounds", type=int, default=200)
    options_of.add_argument("--resamples", type=int, default=200)
    options_of.add_argument("--seed", type=int, default=1)
    options = options_of.parse_args()
    rows: list[dict[str, Any]] = []
    for stationary in (True, False):
        rng = np.random.default_rng([options.seed, stationary])
        counts = {way.name: np.zeros(2, dtype=int) for way in WAYS}
        for _ in range(options.rounds):
            study = simulate(rng, groups=PAPER_GROUPS, stationary=stationary, missing=0.1)
            for way in WAYS:
                counts[way.name] += errors(way, study, options.resamples)
        for way in WAYS:
            hits, families = (int(count) for count in counts[way.name])
            low, high = rate_interval(hits, families)
            row = {"noise": "even" if stationary else "uneven", "way": way.name, "families": families,
                   "rate": hits / families, "low": low, "high": high, "exact": way.exact}  # fmt: skip
            rows.append(row)
            print(f"{row['noise']:7s} {way.name:42s} {row['rate']:.3f} [{low:.3f}, {high:.3f}] of {families}")
    shown = [Rate(row["way"], f"{row['noise']} noise", row["rate"], row["low"], row["high"]) for row in rows]
    draw(options, shown, nominal=LEVEL, label="families with a significant cluster, noise alone (95 % interval)")
    missed = [
        f"{row['way']} ({row['noise']} noise): {row['rate']:.3f}, interval {row['low']:.3f} to {row['high']:.3f}"
        for row in rows
        if row["exact"] and not row["low"] <= LEVEL <= row["high"]
    ]
    return finish(options, rows, missed)


if __name__ == "__main__":
    sys.exit(main())
