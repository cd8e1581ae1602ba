"""Power and bias of every model for planted linear and quadratic change, with 10 % of visits missing.

    python bench/stats_power.py [--rounds 40] [--seed 1] [--json FILE] [--check] [--figure FILE]

In each round a change is planted in a ball, in the first of two groups of nine (as many as the paper's). Printed are
the share of rounds in which a significant cluster meets the ball, and the mean of the estimated effect in the ball
over the planted one, with its standard error. ``--check`` exits 1 where a bias is larger than 5 % and three standard
errors, or where no model finds half of what was planted.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from stats_simulation import draw, finish, parser, simulate

from plastimap.report.rates import Rate
from plastimap.stats.analysis import analyse
from plastimap.stats.models import FitOptions
from plastimap.stats.power import rate_interval

MODELS = (("summary", "equal"), ("summary", "visits"), ("robust", "visits"), ("pooled", "equal"),
          ("sandwich", "equal"), ("mixed", "equal"))  # fmt: skip
"""Method and weighting."""

PLANTED = {"linear": 0.045, "quadratic": 0.0022}
"""Per day, and per day² of the term orthogonal to the linear one."""

LARGEST_BIAS = 0.05


def one_round(study: Any, model: tuple[str, Any], term: str, planted: float) -> tuple[bool, float]:
    """Whether the change was found, and its estimate over the truth."""
    result = analyse(
        study.maps, study.scans, study.participants, **study.arguments, method=model[0],  # type: ignore[arg-type]
        options=FitOptions(weighting=model[1]), contrasts=[{"name": "change", "test": "trained > control"}],
    )  # fmt: skip
    test = next(test for test in result.tests if test.term == term)
    effect = float(test.effect[study.blob[study.arguments["mask"]]].mean()) / planted
    size = np.linalg.norm(study.arguments["affine"][:3, :3], axis=0)
    rows = result.clusters[(result.clusters["term"] == term) & (result.clusters["cluster_p_fwe"] < 0.05)]
    peaks = (rows[["x", "y", "z"]].to_numpy(dtype=float) / size).round().astype(int)
    centre = np.array(study.blob.shape) // 2
    return bool((np.linalg.norm(peaks - centre, axis=1) <= 5).any()), effect


def main() -> int:
    """Simulate, count, judge."""
    options_of = parser(__doc__)
    options_of.add_argument("--rounds", type=int, default=40)
    options_of.add_argument("--seed", type=int, default=1)
    options = options_of.parse_args()
    rows: list[dict[str, Any]] = []
    drawn: list[Rate] = []
    for term, size in PLANTED.items():
        rng = np.random.default_rng([options.seed, len(term)])
        found: dict[tuple[str, str], list[tuple[bool, float]]] = {model: [] for model in MODELS}
        for _ in range(options.rounds):
            study = simulate(rng, groups={"trained": 9, "control": 9}, missing=0.1, **{term: size})
            for model in MODELS:
                found[model].append(one_round(study, model, term, size))
        for model, pairs in found.items():
            hits, effects = (np.array(part, dtype=float) for part in zip(*pairs, strict=True))
            error = float(effects.std(ddof=1) / np.sqrt(len(effects)))
            method = f"{model[0]}, {model[1]}"
            row = {"term": term, "method": method, "power": float(hits.mean())}
            low, high = rate_interval(int(hits.sum()), len(hits))
            drawn.append(Rate(method, term, row["power"], low, high))
            rows.append(row | {"estimate": float(effects.mean()), "error": error})
            print(f"{term:10s} {method:16s} power {hits.mean():.2f}, estimate/truth {effects.mean():.3f} ± {error:.3f}")
    draw(options, drawn, nominal=None, label="power (95 % interval)")
    missed = [
        f"{row['method']}, {row['term']}: estimate/truth {row['estimate']:.3f}"
        for row in rows
        if abs(row["estimate"] - 1) > max(LARGEST_BIAS, 3 * row["error"])
    ]
    missed += [
        f"{term}: no model finds half of what was planted"
        for term in PLANTED
        if max(row["power"] for row in rows if row["term"] == term) < 0.5
    ]
    return finish(options, rows, missed)


if __name__ == "__main__":
    sys.exit(main())
