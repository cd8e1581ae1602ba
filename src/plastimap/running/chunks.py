"""Large studies in chunks of people: planning all jobs of ten thousand scans at once takes gigabytes."""

from __future__ import annotations

from plastimap.bids.plan import Study

CHUNK_SCANS = 500
"""Scans of a chunk, about; a study of up to twice as many is run whole."""

WHOLE = "1/1"

GROUP = "0/"
"""Begin of the name of the chunk that stands for what follows all people."""

GROUP_RULES = (
    "all", "describe", "behaviour", "cohort", "group_masks", "glm", "families", "planted_vs_found", "study_report",
    "brainage_parcels", "brainage_means", "brainage_table", "brainage_train", "brainage_apply", "brainage_statistics",
    "brainage_surfaces",
)  # fmt: skip
"""Rules of the group level: what people gave is finished when they run, and is not planned again."""


def chunks_of(study: Study, size: int) -> list[str]:
    """Chunks that a study is run in: ``1/20``, ``2/20`` …, and ``0/20`` for the group level.

    A study that is run whole has the one chunk ``1/1``: a small one, and one
    whose people meet in a template of the study before they go on.
    """
    count = -(-len(study.scans) // max(size, 1))
    if count <= 2 or study.config["space"]["study_template"]:
        return [WHOLE]
    return [f"{number}/{count}" for number in (*range(1, count + 1), 0)]
