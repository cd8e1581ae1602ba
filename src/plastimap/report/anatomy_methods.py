"""Methods text of anatomy and target space: from the configuration, and from what the scans' quality files say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Config = Mapping[str, Any]

_BY_METHOD = {
    "head": "found in the whole head by a deformable surface [@smith2002], a match of the template and a mixture of "
    "tissues inside and outside of the skull",
    "foreground": "what images without skull show",
    "deepbet": "drawn by the network deepbet [@fisch2024]",
    "given": "taken from masks that were made beforehand",
}
"""How a brain was found, by the ``mask_method`` of quality files."""

_BY_SETTING = {
    "auto": ("given", "deepbet", "head", "foreground"),
    "deepbet": ("given", "deepbet", "foreground"),
    "classical": ("given", "head", "foreground"),
}
"""What may have been, where no quality file says what was; by ``anat.brain_mask``."""


def anatomy_counts(quality: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Count scans by how their brain was found, and those with a lesion.

    Parameters
    ----------
    quality : iterable of mapping
        Content of the scans' ``_anat_qa.json``.

    Returns
    -------
    dict of str to int
        By ``mask_method``; ``lesion``: scans of which part was left out as lesion.
    """
    counts: dict[str, int] = {}
    for one in quality:
        found = [one["mask_method"]] if one.get("mask_method") in _BY_METHOD else []
        found += ["lesion"] if (one.get("lesion_ml") or 0) > 0 else []
        for key in found:
            counts[key] = counts.get(key, 0) + 1
    return counts


def anatomy_sentences(config: Config) -> list[str]:
    """Sentences on tissues; `config` with ``_contrast`` and ``_anatomy`` (:func:`anatomy_counts`) beside its own."""
    contrast, counts = config["_contrast"], config["_anatomy"]
    image = f"The {contrast} image" if contrast else "One structural image"
    sentences = [
        f"{image} of each session was segmented into grey matter, white matter and cerebrospinal fluid by a Gaussian "
        "mixture with partial volume [@shattuck2001] and spatial priors [@ashburner2005]. The priors, of the ICBM152 "
        "template [@fonov2011], were registered to each image once, by greedy [@yushkevich2016]; the segmentation did "
        "not change their place.",
        _brain_sentence(config["anat"]["brain_mask"], counts),
    ]
    if contrast in ("T1w", ""):
        sentences.append("Weighted images were corrected for intensity non-uniformity first (N4) [@tustison2010].")
    sentences.append("Total intracranial volume (TIV) is the sum of the three tissues.")
    if lesions := counts.get("lesion", 0):
        sentences[-1] = "Total intracranial volume (TIV) is the sum of the three tissues and of lesions."
        sentences.append(
            f"Masked lesions ({_scans(lesions)}) had no tissue and no value in the target space, and took no part in "
            "estimating intensities or in registrations [@brett2001]."
        )
    return sentences


def _brain_sentence(setting: str, counts: Mapping[str, int]) -> str:
    ways = [(words, counts[method]) for method, words in _BY_METHOD.items() if counts.get(method)]
    if not ways:
        return "The brain was " + "; or ".join(_BY_METHOD[method] for method in _BY_SETTING[setting]) + "."
    told = [f"{words} ({_scans(number)})" if len(ways) > 1 else words for words, number in ways]
    return "The brain was " + "; ".join(told) + "."


def _scans(number: int) -> str:
    return "one scan" if number == 1 else f"{number} scans"


def space_sentences(config: Config) -> list[str]:
    """Sentences on midpoint, target space and tissue volume."""
    space = config["space"]
    matched = "affine, then deformable, with greedy [@yushkevich2016]"
    if space["registration"] == "ants":
        matched = "affine with greedy [@yushkevich2016], then deformable by SyN of ANTs [@avants2008]"
    target = "the tissue probabilities given for it" if space["template"] else "the ICBM152 average [@fonov2011]"
    between = ""
    if space["study_template"]:
        between = (
            " by way of a template of the study, the iterated diffeomorphic average of everybody's midpoint tissues "
            "[@avants2004]"
        )
    return [
        _midpoint_sentence(frozen=space["freeze_template"]),
        f"Its grey and white matter were registered to those of {space['target']} ({target}){between} ({matched}); all "
        f"transformations were composed, and each image was interpolated once, to a {space['resolution']:g} mm grid.",
        "Volume is the midpoint's tissue probability times the session's Jacobian determinant times that of the "
        "registration [@ashburner2000].",
    ]


def _midpoint_sentence(*, frozen: bool) -> str:
    how = "rigid positions, then deformations of all of them at once that add up to zero"
    if not frozen:
        return (
            "An unbiased midpoint template of all sessions was made for each person, with no session privileged "
            f"[@reuter2012,ashburner2013]: {how}."
        )
    return (
        "A midpoint template was made for each person from the sessions there were at that time, none of them "
        f"privileged [@reuter2012,ashburner2013]: {how}. It was kept: sessions measured later were registered to it "
        "and are no part of it, so that earlier results stayed as they were."
    )
