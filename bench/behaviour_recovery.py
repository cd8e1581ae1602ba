"""Recovery of learning curves: each person's own fit against the fit of all people together.

    python bench/behaviour_recovery.py [--studies 40] [--people 17] [--seed 1] [--json FILE] [--check]

Simulated learners of the size of the published study (17 people, days 0, 7, 14, 28, 84) with %CSR and RT curves whose
plateau, gain and rate scatter between people, and assessments that scatter around the curves. Plateau and gain scatter
normally, which is not what the pooled fit assumes (logit and log). Per outcome, parameter and fit: bias, standard
deviation and root mean square of the errors, and the share of 95 % intervals that hold the truth (γ on the log scale).
Own fits have intervals with t on n − 3 = 2 degrees of freedom, and none at a bound: `told` is the share of people with
one. ``--check`` exits 1 where the pooled fit errs more than the own ones, or its intervals cover less than 91 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from plastimap.behaviour import curve, fit_curve, fit_together

DAYS = np.array([0.0, 7.0, 14.0, 28.0, 84.0])
OUTCOMES: dict[str, dict[str, Any]] = {
    "csr_percent": {"alpha": (80, 7), "delta": (35, 10), "gamma": (0.10, 0.4), "noise": 4.0,
                    "limits": {"minimum": 0.0, "maximum": 100.0}, "better": "higher", "inside": (45, 98)},
    "rt_ms": {"alpha": (41, 5), "delta": (-26, 8), "gamma": (0.079, 0.4), "noise": 3.0,
              "limits": {"minimum": 0.0}, "better": "lower", "inside": (20, 80)},
}  # fmt: skip
"""Mean and SD of plateau and gain; median and log-SD of the rate; SD of an assessment around the curve."""

PARAMETERS = ("alpha", "delta", "log gamma")
LEAST_COVERAGE = 0.91
"""What 95 % intervals may fall to: errors of people of one study are alike, so 680 of them tell it to about 1.3 %."""


def learners(rng: np.random.Generator, people: int, about: dict[str, Any]) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """True parameters, shape (people, 3), and the values of everybody."""
    alpha = np.clip(rng.normal(*about["alpha"], people), *about["inside"])
    delta = rng.normal(*about["delta"], people)
    # Nobody gets worse, and nobody starts beyond a limit.
    delta = np.sign(about["delta"][0]) * np.clip(np.abs(delta), 3, alpha - 5 if delta.mean() > 0 else None)
    gamma = about["gamma"][0] * np.exp(about["gamma"][1] * rng.standard_normal(people))
    highest = about["limits"].get("maximum", np.inf)
    values = [
        np.clip(curve(DAYS, alpha=a, delta=d, gamma=g) + rng.normal(0, about["noise"], DAYS.size), 0, highest)
        for a, d, g in zip(alpha, delta, gamma, strict=True)
    ]
    return np.column_stack([alpha, delta, np.log(gamma)]), values


def own_fits(values: list[NDArray[Any]], about: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Estimates and half widths of intervals, shape (people, 3)."""
    fits = [fit_curve(DAYS, one, better=about["better"], **about["limits"]) for one in values]
    found = np.array([[fit.alpha, fit.delta, np.log(fit.gamma)] for fit in fits])
    errors = np.array([[fit.se[0], fit.se[1], fit.se[2] / fit.gamma] for fit in fits])
    return found, errors * stats.t.ppf(0.975, DAYS.size - 3)


def pooled_fits(values: list[NDArray[Any]], about: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The same for the fit of all people together."""
    fit = fit_together([(DAYS, one) for one in values], **about["limits"])
    errors = fit.se / np.column_stack([np.ones((len(values), 2)), fit.gamma])
    return np.column_stack([fit.alpha, fit.delta, np.log(fit.gamma)]), errors * stats.t.ppf(0.975, fit.dof)


def recover(studies: int, people: int, seed: int) -> list[dict[str, Any]]:
    """Errors of every fit over all studies."""
    rows: list[dict[str, Any]] = []
    for number, (outcome, about) in enumerate(OUTCOMES.items()):
        rng = np.random.default_rng([seed, number])
        simulated = [learners(rng, people, about) for _ in range(studies)]
        for name, fit in (("own", own_fits), ("pooled", pooled_fits)):
            start = time.process_time()
            found = [fit(values, about) for _, values in simulated]
            seconds = (time.process_time() - start) / studies
            errors = np.concatenate([one - truth for (one, _), (truth, _) in zip(found, simulated, strict=True)])
            halves = np.concatenate([half for _, half in found])
            rows += [
                {"outcome": outcome, "parameter": parameter, "fit": name, "cpu_s_per_study": seconds}
                | scores(errors[:, k], halves[:, k])
                for k, parameter in enumerate(PARAMETERS)
            ]
    return rows


def scores(errors: NDArray[Any], halves: NDArray[Any]) -> dict[str, float]:
    """Bias, SD and RMSE of errors; coverage among the intervals that there are."""
    told = np.isfinite(halves)
    return {
        "bias": float(errors.mean()),
        "sd": float(errors.std(ddof=1)),
        "rmse": float(np.sqrt((errors**2).mean())),
        "coverage": float((np.abs(errors) < halves)[told].mean()),
        "told": float(told.mean()),
    }


def judge(rows: list[dict[str, Any]]) -> list[str]:
    """Name what was missed."""
    by = {(row["outcome"], row["parameter"], row["fit"]): row for row in rows}
    missed: list[str] = []
    for (outcome, parameter, fit), row in by.items():
        if fit != "pooled":
            continue
        own = by[outcome, parameter, "own"]
        if row["rmse"] >= own["rmse"]:
            missed.append(f"{outcome} {parameter}: pooled RMSE {row['rmse']:.3g}, own {own['rmse']:.3g}")
        if row["coverage"] < LEAST_COVERAGE:
            missed.append(f"{outcome} {parameter}: pooled intervals cover {row['coverage']:.3f}")
    return missed


def main() -> int:
    """Simulate, fit, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--people", type=int, default=17)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    rows = recover(options.studies, options.people, options.seed)
    heads = "".join(f"{name:>8s}" for name in ("bias", "SD", "RMSE", "cover", "told", "CPU s"))
    print(f"{'outcome':12s}{'parameter':11s}{'fit':8s}{heads}")
    for row in rows:
        print(f"{row['outcome']:12s}{row['parameter']:11s}{row['fit']:8s}{row['bias']:8.3f}{row['sd']:8.3f}"
              f"{row['rmse']:8.3f}{row['coverage']:8.3f}{row['told']:8.2f}{row['cpu_s_per_study']:8.2f}")  # fmt: skip
    missed = judge(rows)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "missed": missed}, indent=2) + "\n")
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
