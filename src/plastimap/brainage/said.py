"""What has to be said of people's ages: whose bias and intervals they got, and what is uncertain beyond these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.harmonise import LEAST_CONTROLS
from plastimap.brainage.people import UNNAMED
from plastimap.brainage.tables import ParcelTable

if TYPE_CHECKING:
    from plastimap.brainage.model import BrainAgeModel

FEWEST_SITES = 4
"""Fewer sites cannot say how far off a new one will be: people of new ones then get what holds at sites trained on."""

KNOWN_SITE, NEW_SITE, LOCAL_CONTROLS = "known site", "new site", "local controls"
WORDS = {
    KNOWN_SITE: "sites trained on (people left out)",
    NEW_SITE: "new sites (whole sites left out)",
    LOCAL_CONTROLS: "the site's own controls",
}
"""Whose bias and intervals a person may get, and what notes call them."""

TOLD = "Bias and intervals are those of"
"""What the note begins with that says so."""


def not_used(site: str, controls: int) -> str:
    """Say why controls change nothing."""
    if site == UNNAMED:
        return (
            f"{controls} controls without a site are not used: name the scanner (column site) of theirs and of others."
        )
    return f"Site {site}: {controls} controls, fewer than {LEAST_CONTROLS}: taken as it is."


def kinds_of_people(model: BrainAgeModel, table: ParcelTable) -> NDArray[np.str_]:
    """Whose bias and intervals each person gets."""
    kinds = np.where(model.calibration.is_known(table.site), KNOWN_SITE, NEW_SITE)
    return np.where(np.isin(table.site, sorted(model.calibration.with_controls)), LOCAL_CONTROLS, kinds)


def said_of_people(model: BrainAgeModel, table: ParcelTable) -> tuple[str, ...]:
    """Notes for the people of a table."""
    kinds = kinds_of_people(model, table)
    new = [name for name in dict.fromkeys(table.site[kinds == NEW_SITE].tolist()) if name != UNNAMED]
    counts = {kind: table.rows(kinds == kind).count for kind in WORDS if (kinds == kind).any()}
    told = ", ".join(f"{WORDS[kind]} for {count} of the people" for kind, count in counts.items())
    notes = [*model.notes, *table.notes, f"{TOLD} {told}."]
    if new:
        notes.append(
            f"Sites without controls: {', '.join(new)}. Their ages are taken as they come, and may be off by years "
            f"together; {LEAST_CONTROLS} healthy controls of the same scanner would say by how much."
        )
    if unnamed := table.rows(table.site == UNNAMED).count:
        notes.append(
            f"{unnamed} of the people have no site: it counts as one that was not trained on. Name the scanner (column "
            "site) as the training table or the controls do."
        )
    if (kinds == NEW_SITE).any() and not model.calibration.whole_sites:
        notes.append(
            "The model's intervals are those of people of sites it was trained on: at sites without controls, ages lie "
            f"outside more often than they say. Give controls, or train on people of {FEWEST_SITES} sites or more."
        )
    outside = table.rows((table.age < model.age_range[0]) | (table.age > model.age_range[1])).count
    if outside:
        low, high = model.age_range
        notes.append(
            f"Younger or older than everybody in training ({low:.0f}–{high:.0f} years): {outside} of the people."
        )
    if themselves := len(model.controls & set(table.persons.tolist())):
        notes.append(
            f"{themselves} of the people are among the controls, too: their own gaps were used to shift their site."
        )
    return tuple(dict.fromkeys(notes))
