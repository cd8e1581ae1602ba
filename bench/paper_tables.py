"""Printed p values and Bayes factors of a published study, recomputed from its printed means, SDs and patients.

    python bench/paper_tables.py [--tables DIR] [--json FILE] [--check]

Reads Table 1 and Table 2 of Emmenegger 2026 (CSV) from a folder that is not part of this repository. Every printed
number is set beside what our code makes of the other printed numbers. These are rounded: what the recomputed value
could be within their rounding is printed too, and a number counts as reproduced when that range, widened by half a unit
of its own last digit (Bayes factors, which were integrated numerically: by one and a half), holds it. Nothing is tuned
to a row. ``--check`` exits 1 when a row that is not among those known to disagree (``KNOWN``, with the reason) is not
reproduced.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from stats_simulation import finish, parser

from plastimap.stats.bayes import bf10_one_sample, bf10_two_sample
from plastimap.stats.means import Summary, bf01_of_means, compare_means, t_of_p

SCI, HEALTHY = 17, 18
"""People behind the coefficients of Table 2."""

RETAINED = {"MPM": 16, "VBM": 16, "diffusion": 15}
"""Patients with both day 28 and day 84."""

GROUPS_OF_TEXT = ((34.48, 10.94, 9), (39.26, 13.98, 9), (38.89, 11.18, 14), (46.46, 18.94, 9), (47.60, 10.04, 8))
"""Age: mean, SD, n of the five groups, as the text prints them."""

FIRST_LEVEL = {"C": 0, "T": 8, "L": 20}
"""Vertebrae above the first one of each part of the spine."""

KNOWN = {
    "day 84": "who came on day 84 is not stated; everybody is assumed here",
    "lesion level": "how levels were made numbers is not stated",
    "Corticospinal tract L at the level of the corona radiata, FA beta1: beta BF01": "its own p says otherwise",
    "Corticospinal tract R at the level of the corona radiata, RD beta2: retention BF01": "its own p says otherwise",
}
"""What cannot be reproduced, and why."""


def unit(text: str) -> float:
    """Half a unit of the last digit that was printed."""
    mantissa, _, exponent = text.lower().partition("e")
    return 0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def around(texts: Sequence[str], function: Callable[..., float]) -> tuple[float, float, float]:
    """What a function makes of printed numbers, and its range within their rounding."""
    plain = [float(text) for text in texts]
    corners = [
        function(*(value + sign * unit(text) for value, text, sign in zip(plain, texts, signs, strict=True)))
        for signs in itertools.product((-1, 0, 1), repeat=len(texts))
    ]
    usable = [value for value in corners if np.isfinite(value)]
    return function(*plain), min(usable, default=np.nan), max(usable, default=np.nan)


def row_of(what: str, printed: str, found: tuple[float, float, float]) -> dict[str, Any]:
    """One printed number beside its recomputation."""
    value, low, high = found
    # Printed Bayes factors are integrals made by a program that is off by up to one unit of the last digit.
    half = unit(printed) * (3 if "BF01" in what else 1)
    bound = float(printed)
    why = next((reason for name, reason in KNOWN.items() if name in what), "")
    return {"what": what, "printed": bound, "recomputed": value, "low": low, "high": high,
            "reproduced": bool(low - half <= bound <= high + half), "known": why}  # fmt: skip


def welch_p(first_n: int, second_n: int) -> Callable[..., float]:
    """Two-sided p of Welch's test from means and SDs; NaN where an SD is not positive."""

    def p(one: float, one_sd: float, two: float, two_sd: float) -> float:
        if min(one_sd, two_sd) < 0 or max(one_sd, two_sd) <= 0:
            return np.nan
        return compare_means(Summary(one, one_sd, first_n), Summary(two, two_sd, second_n)).p

    return p


def student_bf01(first_n: int, second_n: int) -> Callable[..., float]:
    """BF01 of Student's t from means and SDs."""

    def bf01(one: float, one_sd: float, two: float, two_sd: float) -> float:
        if min(one_sd, two_sd) < 0 or max(one_sd, two_sd) <= 0:
            return np.nan
        return bf01_of_means(Summary(one, one_sd, first_n), Summary(two, two_sd, second_n))

    return bf01


def paired_bf01(n: int) -> Callable[..., float]:
    """BF01 of a paired test from its p."""
    return lambda p: float(1 / bf10_one_sample(t_of_p(min(max(p, 1e-12), 1.0), n - 1), n))


def modality(map_name: str) -> str:
    """Which visits a map has."""
    return map_name if map_name == "VBM" else "MPM" if map_name in ("R1", "R2s", "R2*", "MTsat", "PD") else "diffusion"


def table2(file: Path) -> list[dict[str, Any]]:
    """Tests of β, retention and day 84 in every cluster."""
    rows: list[dict[str, Any]] = []
    for cluster in pd.read_csv(file, dtype=str, keep_default_na=False).to_dict("records"):
        name = f"{cluster['roi']}, {cluster['map']} {cluster['parameter']}"
        n = RETAINED[modality(cluster["map"])]
        betas = [cluster[f"beta_{key}"] for key in ("sci_mean", "sci_sd", "hc_mean", "hc_sd")]
        late = [cluster[key] for key in ("sci_day84_mean", "sci_day84_sd", "hc_day84_mean", "hc_day84_sd")]
        asked = (
            ("beta p", cluster["beta_p"], betas, welch_p(SCI, HEALTHY)),
            ("beta BF01", cluster["beta_bf01"], betas, student_bf01(SCI, HEALTHY)),
            ("retention BF01", cluster["retention_bf01"], [cluster["retention_p"]], paired_bf01(n)),
            ("day 84 p", cluster["day84_p"], late, welch_p(SCI, HEALTHY)),
            ("day 84 BF01", cluster["day84_bf01"], late, student_bf01(SCI, HEALTHY)),
        )
        rows += [
            row_of(f"{name}: {what}", printed, around(given, function))
            for what, printed, given, function in asked
            if printed and all(given)
        ]
    return rows


def exact_fisher(table: np.ndarray) -> float:
    """Fisher's exact test of a table with two rows: all tables with its margins, those at most as likely."""
    law = stats.random_table(table.sum(axis=1), table.sum(axis=0))
    first_rows = itertools.product(*(range(total + 1) for total in table.sum(axis=0)))
    tables = [np.array([row, table.sum(axis=0) - row]) for row in first_rows if sum(row) == table[0].sum()]
    chances = np.array([law.pmf(one) for one in tables])
    return float(chances[chances <= law.pmf(table) * (1 + 1e-9)].sum())


def level(text: str) -> float:
    """Number of the vertebra: C4 → 4, T12 → 20, L5 → 25; of several, the uppermost."""
    first = text.partition(";")[0].partition("/")[0].strip()
    return FIRST_LEVEL[first[0]] + float(first[1:])


def table1(file: Path) -> list[dict[str, Any]]:
    """Tests of the patients' characteristics, which are exact: no rounding stands between."""
    people = pd.read_csv(file)
    upper, lower = (people[people["group"].str.startswith(name)] for name in ("SCI-UL", "SCI-LL"))

    def welch(column: str, convert: Callable[[Any], float] = float) -> float:
        return float(stats.ttest_ind(upper[column].map(convert), lower[column].map(convert), equal_var=False).pvalue)

    def fisher(column: str) -> float:
        return exact_fisher(pd.crosstab(people["group"], people[column]).to_numpy())

    mean = sum(m * n for m, _, n in GROUPS_OF_TEXT) / sum(n for _, _, n in GROUPS_OF_TEXT)
    between = sum(n * (m - mean) ** 2 for m, _, n in GROUPS_OF_TEXT) / 4
    within = sum((n - 1) * sd**2 for _, sd, n in GROUPS_OF_TEXT) / (sum(n for _, _, n in GROUPS_OF_TEXT) - 5)
    asked = (
        ("time since injury, Welch p", "0.774", welch("months_since_injury")),
        ("AIS, Fisher p", "0.390", fisher("ais")),
        ("completeness, Fisher p", "0.294", fisher("completeness")),
        ("age, ANOVA F", "1.55", between / within),
        ("age, ANOVA p", "0.205", float(stats.f.sf(between / within, 4, 44))),
        ("lesion level, Welch p", "0.008", welch("lesion_level", level)),
    )
    # The ages' means and SDs are rounded to .01: F moves by less than .005 for it.
    return [row_of(what, printed, (value, value - 1e-3, value + 1e-3)) for what, printed, value in asked]


def attainable() -> dict[str, float]:
    """Largest BF01 that samples of these sizes can give, at t = 0."""
    return {
        "two groups, 17 and 18": float(1 / bf10_two_sample(0.0, SCI, HEALTHY)),
        **{f"pairs, {n}": float(1 / bf10_one_sample(0.0, n)) for n in sorted(set(RETAINED.values()))},
    }


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print every pair."""
    for row in rows:
        verdict = "" if row["reproduced"] else f"  NOT reproduced{': ' + row['known'] if row['known'] else ''}"
        print(f"{row['what']:76s} printed {row['printed']:<8g} recomputed {row['recomputed']:<8.4g} "
              f"[{row['low']:.4g}, {row['high']:.4g}]{verdict}")  # fmt: skip


def main() -> int:
    """Recompute, print, judge."""
    options_of = parser(__doc__)
    default = Path(__file__).resolve().parents[2] / "shared" / "reference" / "paper"
    options_of.add_argument("--tables", type=Path, default=default)
    options = options_of.parse_args()
    files = [options.tables / name for name in ("table1_patients.csv", "table2_plasticity.csv")]
    if missing := [file.name for file in files if not file.exists()]:
        print(f"skipped: no {' and no '.join(missing)} in {options.tables}; name their folder with --tables")
        return 0
    rows = [*table1(files[0]), *table2(files[1])]
    show(rows)
    agree = sum(row["reproduced"] for row in rows)
    print(f"{agree} of {len(rows)} numbers reproduced; {sum(bool(r['known']) for r in rows if not r['reproduced'])} "
          "others have a known reason")  # fmt: skip
    for name, value in attainable().items():
        print(f"largest BF01 that can be reached, {name}: {value:.3f}")
    missed = [row["what"] for row in rows if not row["reproduced"] and not row["known"]]
    return finish(options, rows, [f"{what} is not reproduced" for what in missed])


if __name__ == "__main__":
    sys.exit(main())
