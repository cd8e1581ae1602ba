"""How many real ages lie in intervals, and how sure that is when sites, not people, are what may come out otherwise.

Part of ``brainage.py``. People of one site err together, so a share of people is known as well as its sites are many:
its standard error is that over sites drawn anew (cluster bootstrap; Cameron, Gelbach & Miller 2008,
doi:10.1162/rest.90.3.414), each with all its people.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from plastimap.brainage.intervals import YOUNG

WANTED = (0.87, 0.93)
"""Of people whose real age lies in a 90 % interval."""
ERRORS = 2
"""Standard errors by which a band's share at sites left out has to be off, before it is missed."""
DRAWS = 4000
AGES = ("all", "< 40", "≥ 40")
PLACES = ("whole brain", "regions")
EVERYBODY, OF_SITES = "everybody", "of sites with controls"


def coverages(predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Share of real ages inside, with its standard error over sites, per number of controls, place and band.

    Regions are averaged over within people, so that a person counts once.
    """
    known = predictions[predictions["predicted_age"].notna()]
    held = known.assign(
        held=(known["lower"] <= known["age"]) & (known["age"] <= known["upper"]),
        place=np.where(known["hemisphere"] == "B", *PLACES),
    )
    each = held.groupby(["controls", "place", "site", "participant_id", "age"], sort=False)["held"].mean().reset_index()
    rows: list[dict[str, Any]] = []
    for (controls, place), part in each.groupby(["controls", "place"], sort=False):
        young = part["age"] < YOUNG
        for ages, mask in zip(AGES, (young | ~young, young, ~young), strict=True):
            sites = part[mask].groupby("site")["held"].agg(["sum", "count"])
            error = share_error(sites["sum"].to_numpy(), sites["count"].to_numpy())
            rows.append({"controls": controls, "place": place, "ages": ages, "sites": len(sites),
                         "coverage": float(sites["sum"].sum() / sites["count"].sum()), "se": error})  # fmt: skip
    return rows


def share_error(held: np.ndarray, people: np.ndarray, *, seed: int = 1) -> float:
    """Standard error of sum(held) / sum(people) over sites drawn anew."""
    drawn = np.random.default_rng(seed).multinomial(len(held), np.full(len(held), 1 / len(held)), DRAWS)
    return float(np.std(drawn @ held / (drawn @ people), ddof=1))


def coverage_missed(label: str, rows: list[dict[str, Any]], *, lenient: bool) -> list[str]:
    """Name shares that are not what was wanted; lenient = bands are, unless standard errors say otherwise."""
    found: list[str] = []
    for row in rows:
        band = row["ages"] != "all"
        # Everybody is judged without controls; with them, whom no number of controls has drawn, all ages together.
        if row["people"] != (OF_SITES if row["controls"] else EVERYBODY) or (band and row["controls"]):
            continue
        reach = ERRORS * row["se"] if band and lenient else 0.0
        if not WANTED[0] - reach <= row["coverage"] <= WANTED[1] + reach:
            told = f" ({ERRORS} standard errors: {100 * reach:.1f})" if reach else ""
            place = f"{row['controls']} controls, {row['place']}, {row['ages']}"
            found.append(f"{label}, {place}: intervals cover {100 * row['coverage']:.1f} %, wanted 90 ± 3 %{told}")
    return found
