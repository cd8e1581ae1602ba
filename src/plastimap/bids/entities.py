"""BIDS file names: entities, suffix, extension."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

ENTITY_ORDER = (
    "sub", "tpl", "ses", "cohort", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec",
    "dir", "run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk",
    "atlas", "seg", "scale", "res", "den", "label", "desc",
)  # fmt: skip
"""Order of entities in a name (BIDS 1.11)."""

_ENTITY = re.compile(r"(?P<key>[a-zA-Z]+)-(?P<value>[a-zA-Z0-9+]+)")
_SUFFIX = re.compile(r"[a-zA-Z0-9]+")


@dataclass(frozen=True, slots=True)
class BidsName:
    """The parts of a file name.

    Attributes
    ----------
    entities : mapping of str to str
        ``{"sub": "01", "echo": "2"}``, in the order of the name.
    suffix : str
        ``MPM``, ``dwi``, ``T1w`` …
    extension : str
        With its leading dot: ``.nii.gz``.
    """

    entities: Mapping[str, str] = field(hash=False)
    suffix: str
    extension: str

    def get(self, key: str) -> str | None:
        """Value of an entity, or None."""
        return self.entities.get(key)

    def index(self, key: str) -> int | None:
        """Value of an entity that is an index (``run``, ``echo``, ``flip``), or None."""
        value = self.entities.get(key)
        return int(value) if value is not None and value.isdecimal() else None


def parse_name(name: str) -> BidsName | None:
    """Take a file name apart.

    Parameters
    ----------
    name : str
        Without folders: ``sub-01_ses-02_echo-1_flip-2_mt-off_MPM.nii.gz``.

    Returns
    -------
    BidsName or None
        None when the name is not ``key-value_…_suffix.extension``, or names an entity twice.
    """
    stem, dot, extension = name.partition(".")
    *pairs, suffix = stem.split("_")
    if not dot or not extension or not _SUFFIX.fullmatch(suffix):
        return None
    entities: dict[str, str] = {}
    for pair in pairs:
        found = _ENTITY.fullmatch(pair)
        if found is None or found["key"] in entities:
            return None
        entities[found["key"]] = found["value"]
    return BidsName(entities, suffix, dot + extension)


def format_name(entities: Mapping[str, str | int | None], suffix: str, extension: str) -> str:
    """Put a file name together, entities in BIDS order; unknown ones follow in the order given.

    Parameters
    ----------
    entities : mapping
        Values that are None are left out.
    suffix, extension : str
        As in :class:`BidsName`.

    Raises
    ------
    ValueError
        When the parts would not make a name that reads back as the same parts.
    """
    known = {key: place for place, key in enumerate(ENTITY_ORDER)}
    keys = sorted((key for key in entities if entities[key] is not None), key=lambda key: known.get(key, len(known)))
    name = "_".join([*(f"{key}-{entities[key]}" for key in keys), suffix]) + extension
    read_back = parse_name(name)
    if read_back is None or read_back.extension != extension:
        raise ValueError(f"{name!r} is no BIDS name: labels are letters and digits, the extension starts with a dot")
    return name
