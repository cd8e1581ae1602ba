"""Parcels, the networks they belong to, and which of them touch: the map that a model of regional brain age stands on.

A region is one functional network (Yeo et al. 2011, doi:10.1152/jn.00338.2011) in one hemisphere. A model of a region
sees the parcels of that region alone, so a change elsewhere cannot change its age.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.problems import BrainageProblem

if TYPE_CHECKING:
    import pandas as pd

NETWORKS = {
    "Vis": "visual",
    "SomMot": "somatomotor",
    "DorsAttn": "dorsal attention",
    "SalVentAttn": "salience",
    "Limbic": "limbic",
    "Cont": "frontoparietal",
    "Default": "default mode",
}
"""Short names of the seven networks in parcellations, and what the field calls them."""

FRONTOPARIETAL = "frontoparietal"
"""The control network of Yeo 2011: of this network in the healthy hemisphere a younger age is expected."""

PLAUSIBLE = {"thickness": (0.3, 6.0, "mm"), "volume": (0.0, 1e6, "mm³")}
"""Limits and unit of a measure; a number outside is another unit or a mistake."""

LEAST_PARCELS = 2
"""A region of fewer parcels says hardly anything about age."""

NO_EDGES = np.zeros((0, 2), dtype=np.int64)

SIDES = {"l": "L", "lh": "L", "left": "L", "r": "R", "rh": "R", "right": "R"}


def folded(name: str) -> str:
    """One spelling of a parcel's name, whichever program wrote it.

    >>> folded("lh_G_and_S_frontomargin_thickness"), folded("lh_g&s_frontomargin")
    ('lh_g_and_s_frontomargin', 'lh_g_and_s_frontomargin')
    """
    return _plain(name).removesuffix("_thickness").removesuffix("_volume")


def _plain(name: str) -> str:
    """The same with the measure that it ends in."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower().replace("&", "_and_"))
    return re.sub(r"_+", "_", plain).strip("_")


def column_finder(columns: Iterable[str]) -> Callable[[str, str], list[str]]:
    """Look a parcel's column up by its name and measure, however it is spelled.

    Parameters
    ----------
    columns : iterable of str
        Of a table.

    Returns
    -------
    callable
        (name, measure) → columns that may be meant: that of the same name, else that of the measure (a table may hold
        thickness and volume of one parcel), else all that read as the name. One is right, none or several are not.

    >>> find = column_finder(["lh_a_thickness", "lh_a_volume", "lh_b"])
    >>> find("lh_a", "volume"), find("lh-b", "thickness"), find("lh_c", "thickness")
    (['lh_a_volume'], ['lh_b'], [])
    """
    whole, short = dict[str, list[str]](), dict[str, list[str]]()
    for column in columns:
        whole.setdefault(_plain(column), []).append(column)
        short.setdefault(folded(column), []).append(column)

    def find(name: str, measure: str) -> list[str]:
        every = short.get(folded(name), [])
        measured = whole.get(f"{folded(name)}_{measure}", [])
        return every if len(every) < 2 else whole.get(_plain(name), []) or measured or every

    return find


@dataclass(frozen=True)
class Parcels:
    """A set of parcels in a fixed order.

    Attributes
    ----------
    names : tuple of str
    hemispheres : tuple of str
        ``L`` or ``R``.
    networks : tuple of str
    measures : tuple of str
        What is measured: ``thickness`` (mm), ``volume`` (mm³), or any other word.
    edges : ndarray of int, shape (m, 2)
        Pairs of parcels that touch, or are twins across hemispheres.
    """

    names: tuple[str, ...]
    hemispheres: tuple[str, ...]
    networks: tuple[str, ...]
    measures: tuple[str, ...] = ()
    edges: NDArray[np.int64] = field(default_factory=NO_EDGES.copy, compare=False)

    def __post_init__(self) -> None:
        if not self.measures:
            object.__setattr__(self, "measures", ("thickness",) * len(self.names))

    @cached_property
    def regions(self) -> tuple[tuple[str, str], ...]:
        """(network, hemisphere) of every region, networks in order of appearance, left before right."""
        found = dict.fromkeys(zip(self.networks, self.hemispheres, strict=True))
        order = {network: number for number, network in enumerate(dict.fromkeys(self.networks))}
        return tuple(sorted(found, key=lambda region: (order[region[0]], region[1])))

    def members(self, region: tuple[str, str]) -> NDArray[np.intp]:
        """Places of a region's parcels."""
        inside = zip(self.networks, self.hemispheres, strict=True)
        return np.flatnonzero([one == region for one in inside])

    @cached_property
    def region_of(self) -> NDArray[np.intp]:
        """Number of each parcel's region, in the order of :attr:`regions`."""
        number = {region: place for place, region in enumerate(self.regions)}
        return np.array([number[one] for one in zip(self.networks, self.hemispheres, strict=True)])

    @cached_property
    def inner_edges(self) -> NDArray[np.int64]:
        """Edges between parcels of one region: along them a change stays in its region."""
        region = self.region_of
        return self.edges[region[self.edges[:, 0]] == region[self.edges[:, 1]]]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of names, sides, networks and measures: models and tables have to agree in it."""
        lines = zip(map(folded, self.names), self.hemispheres, self.networks, self.measures, strict=True)
        return hashlib.sha256("\n".join("\t".join(line) for line in lines).encode()).hexdigest()[:16]

    def only(self, kept: Sequence[int] | NDArray[np.intp]) -> Parcels:
        """These parcels alone, edges renumbered."""
        place = {int(old): new for new, old in enumerate(kept)}
        edges = [(place[i], place[j]) for i, j in self.edges.tolist() if i in place and j in place]
        names, sides, networks, measures = (
            tuple(column[int(i)] for i in kept)
            for column in (self.names, self.hemispheres, self.networks, self.measures)
        )
        return Parcels(names, sides, networks, measures, np.array(edges, np.int64).reshape(-1, 2))


def as_parcels(nodes: pd.DataFrame, edges: pd.DataFrame | None = None) -> Parcels:
    """Build the set from its two tables.

    Parameters
    ----------
    nodes : DataFrame
        ``name``, ``hemisphere`` (L, R), ``network``; optionally ``measure``.
    edges : DataFrame, optional
        ``one``, ``other``: names of parcels. Needed by the graph convolutional network alone.

    Raises
    ------
    BrainageProblem
        With everything that is wrong.
    """
    missing = [name for name in ("name", "hemisphere", "network") if name not in nodes]
    if missing:
        raise BrainageProblem(
            f"the table of parcels has no column {', '.join(missing)}; it has {', '.join(map(str, nodes))}"
        )
    plain = nodes.fillna("").astype(str)
    found = [*_node_problems(plain), *_edge_problems(plain, edges)]
    if found:
        raise BrainageProblem(found)
    place = {name: number for number, name in enumerate(plain["name"])}
    ends = [] if edges is None else zip(edges["one"].astype(str), edges["other"].astype(str), strict=True)
    pairs = [(place[one], place[other]) for one, other in ends]
    return Parcels(
        names=tuple(plain["name"]),
        hemispheres=tuple(SIDES[side.lower()] for side in plain["hemisphere"]),
        networks=tuple(NETWORKS.get(str(network), str(network)) for network in plain["network"]),
        measures=tuple(plain["measure"]) if "measure" in plain else (),
        edges=np.array(pairs, dtype=np.int64).reshape(-1, 2),
    )


def refuse_other_parcels(ours: Parcels, theirs: Parcels) -> None:
    """Raise unless two sets of parcels are the same, in the same order."""
    if ours.fingerprint == theirs.fingerprint:
        return
    missing = [name for name in ours.names if name not in set(theirs.names)]
    why = f"it lacks {missing[0]} and {len(missing) - 1} more" if missing else "their order or networks differ"
    raise BrainageProblem(
        f"the model was trained on other parcels ({len(ours.names)}, {ours.fingerprint}) than the table has "
        f"({len(theirs.names)}, {theirs.fingerprint}): {why}; use the parcels beside the model, or train anew"
    )


def _node_problems(nodes: pd.DataFrame) -> Iterator[str]:
    twice = [name for name, count in Counter(map(folded, nodes["name"])).items() if count > 1]
    if twice:
        yield f"parcels that are there twice: {listed(twice)}; give each its own name"
    wrong = [name for name, side in zip(nodes["name"], nodes["hemisphere"], strict=True) if side.lower() not in SIDES]
    if wrong:
        yield f"parcels without a hemisphere: {listed(wrong)}; write L or R"
    size = Counter(zip(nodes["network"], nodes["hemisphere"], strict=True))
    small = [f"{network} {side} ({count})" for (network, side), count in size.items() if count < LEAST_PARCELS]
    if small:
        yield f"regions of fewer than {LEAST_PARCELS} parcels: {listed(small)}; join them with a neighbour"


def _edge_problems(nodes: pd.DataFrame, edges: pd.DataFrame | None) -> Iterator[str]:
    if edges is None:
        return
    if not {"one", "other"} <= set(edges):
        yield "the table of edges wants the columns one and other, with names of parcels"
        return
    both = edges[["one", "other"]]
    if both.isna().to_numpy().any():
        yield f"edges with one end alone: {int(both.isna().any(axis=1).sum())}; name both parcels in every row"
    named = both.to_numpy()[both.notna().to_numpy()]
    unknown = sorted({str(name) for name in named} - set(nodes["name"]))
    if unknown:
        yield f"edges name parcels that are not in the table: {listed(unknown)}"


def listed(names: Iterable[str], *, most: int = 6) -> str:
    """Names in a row, cut short after `most`."""
    texts = list(names)
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
