"""Which of several files counts: weightings, repeated runs, several DWI or B1 acquisitions.

Every function takes rows and gives rows back in the same order, with `used`
and `unused_because` set, and notices that name what was left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from plastimap.bids.picking import Chosen, groups_of, without
from plastimap.bids.prefer import Preferred, choose_preferred
from plastimap.bids.problems import Problem
from plastimap.bids.rows import B1_SUFFIXES, FIELD_SUFFIXES, MPM_SUFFIXES, RECEIVE_SUFFIX, Row

SMALL_FLIP_DEG = 10.0
"""A single spoiled-gradient-echo acquisition at or below this flip angle counts as PD-weighted."""


def choose(rows: Sequence[Row], *, repeated_runs: str, prefer: Preferred | None = None) -> Chosen:
    """Decide weightings and what counts, in all scans.

    Parameters
    ----------
    rows : sequence of Row
        Raw rows of the study.
    repeated_runs : {"last", "first", "combine"}
        Which run counts when one was repeated; ``combine`` keeps all runs of a scan's MPM acquisitions, where they are
        complete, and the last of everything else.
    prefer : mapping, optional
        Which acquisition counts where there are several: ``{"T1w": {"acq": "mprage"}}``.

    Returns
    -------
    list of Row, list of Problem
    """
    problems: list[Problem] = []
    current = _set_aside(rows, lambda row: row.part not in (None, "mag"), "phase image; magnitudes are used")
    steps: tuple[Callable[[list[Row]], Chosen], ...] = (
        choose_files,
        lambda some: choose_runs(some, repeated_runs=repeated_runs),
        weight,
        lambda some: choose_preferred(some, prefer or {}),
        choose_acquisitions,
        choose_dwi,
        choose_b1,
    )
    for step in steps:
        current, found = step(current)
        problems += found
    return _without_idle_fields(current), problems + _unlike_sessions(current)


def _without_idle_fields(rows: list[Row]) -> list[Row]:
    """Leave field maps out of scans without a diffusion series: they make no scan."""
    with_dwi = {row.scan for row in rows if row.used and row.suffix == "dwi"}
    idle = [row.path for row in rows if row.suffix in FIELD_SUFFIXES and row.scan not in with_dwi]
    return without(rows, dict.fromkeys(idle, "field of no diffusion series"))


def choose_files(rows: Sequence[Row]) -> Chosen:
    """Of one image that lies there packed and unpacked (``.nii.gz``, ``.nii``) keep the packed one."""
    return _keep_first(
        rows,
        lambda row: row.path.removesuffix(".gz"),
        lambda row: (not row.path.endswith(".gz"),),
        "files of one image",
        label=lambda row: row.path.rpartition("/")[2],
    )


def choose_runs(rows: Sequence[Row], *, repeated_runs: str) -> Chosen:
    """Of a repeated acquisition keep one run, whole: echoes of different runs never mix."""
    pick = min if repeated_runs == "first" else max
    combined = _complete_repetitions(rows) if repeated_runs == "combine" else set[str]()
    drop: dict[str, str] = {}
    problems: list[Problem] = []
    for group in groups_of(rows, _acquisition):
        if group[0].suffix in MPM_SUFFIXES and group[0].scan in combined:
            continue
        runs = sorted({row.run or 0 for row in group})
        if len(runs) < 2:
            continue
        kept = pick(runs)
        names = ", ".join(f"run-{run}" if run else "the one without run-" for run in runs if run != kept)
        counts = {run: sum((row.run or 0) == run for row in group) for run in runs}
        why = f"input.repeated_runs is {repeated_runs}; left out: {names}"
        if len(set(counts.values())) > 1:
            why += f" (files per run: {', '.join(f'{run}: {n}' for run, n in counts.items())}; one was broken off?)"
        chosen = next(row for row in group if (row.run or 0) == kept)
        remedy = "nothing, or set input.repeated_runs, or remove the run that should not count"
        problems.append(Problem(chosen.path, "an acquisition was repeated", why, remedy, "notice"))
        drop |= {row.path: f"repeated: run {kept} counts" for row in group if (row.run or 0) != kept}
    return without(rows, drop), problems


def _complete_repetitions(rows: Sequence[Row]) -> set[str]:
    """Scans of which every MPM acquisition has the same runs, with as many files in each."""
    found: dict[str, set[tuple[int, ...]]] = {}
    for group in groups_of(rows, _acquisition):
        if group[0].suffix in MPM_SUFFIXES:
            runs = [row.run or 0 for row in group]
            counts = {run: runs.count(run) for run in runs}
            # Unequal counts fit no other acquisition, so the scan is not complete.
            alike = len(set(counts.values())) == 1
            found.setdefault(group[0].scan, set()).add(tuple(sorted(counts)) if alike else (-1, *runs))
    return {scan for scan, sets in found.items() if len(sets) == 1 and not any(-1 in runs for runs in sets)}


def weight(rows: Sequence[Row]) -> Chosen:
    """Tell PD-, T1- and MT-weighted acquisitions apart by MT pulse and flip angle."""
    weightings: dict[str, str] = {}
    drop: dict[str, str] = {}
    problems: list[Problem] = []
    for scan in groups_of(rows, lambda row: (row.scan,) if row.suffix in MPM_SUFFIXES else None):
        weightings |= {row.path: "MTw" for row in scan if row.mt == "on"}
        pulseless = [row for row in scan if row.mt == "off" and row.flip_angle_deg is not None]
        angles = sorted({row.flip_angle_deg for row in pulseless if row.flip_angle_deg is not None})
        names = _names_of_angles(angles, has_mt=any(row.mt == "on" for row in scan))
        for row in pulseless:
            name = names[row.flip_angle_deg or 0.0]
            if name is not None:
                weightings[row.path] = name
            else:
                drop[row.path] = "a third flip angle without MT pulse"
        if len(angles) > 2:
            what = f"{len(angles)} flip angles without MT pulse: {', '.join(f'{angle:g}°' for angle in angles)}"
            why = "the smallest counts as PDw, the largest as T1w; those between are left out"
            problems.append(Problem(pulseless[0].path, what, why, "nothing, or remove what should not count", "notice"))
    weighted = [replace(row, weighting=weightings.get(row.path)) for row in rows]
    return without(weighted, drop), problems


def _names_of_angles(angles: Sequence[float], *, has_mt: bool) -> dict[float, str | None]:
    if len(angles) == 1:
        return {angles[0]: "PDw" if has_mt or angles[0] <= SMALL_FLIP_DEG else "T1w"}
    names: dict[float, str | None] = dict.fromkeys(angles)
    if angles:
        names[angles[0]], names[angles[-1]] = "PDw", "T1w"
    return names


def choose_acquisitions(rows: Sequence[Row]) -> Chosen:
    """Of several images of one kind (another ``acq-``, ``ce-`` or ``rec-``) keep the first by name.

    Those without a contrast agent come first. Of the echoes of a T1-weighted image the first counts.
    """

    def kind(row: Row) -> Hashable:
        if row.suffix in MPM_SUFFIXES and row.weighting:
            return row.scan, "MPM", row.weighting
        return (row.scan, row.suffix) if row.suffix == "T1w" else None

    def rank(row: Row) -> tuple[object, ...]:
        echo = (row.echo or 0) if row.suffix == "T1w" else 0
        return row.ce or "", row.acq or "", row.rec or "", echo, row.suffix

    return _keep_first(rows, kind, rank, "acquisitions of one kind")


def _unlike_sessions(rows: Sequence[Row]) -> list[Problem]:
    """Tell of people whose T1-weighted images are of another kind in another session: that looks like change."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.used and row.suffix == "T1w":
            found.setdefault(row.participant_id, {}).setdefault(_label(row, ("acq", "ce", "rec")), row)
    why = "what differs between the images would count as change of the person"
    remedy = "keep one kind in all sessions (move others to sourcedata/), or leave the session out (exclude)"
    return [
        Problem(
            next(iter(kinds.values())).path,
            f"T1-weighted images of several kinds: {', '.join(kinds)}",
            why,
            remedy,
            "notice",
        )
        for kinds in found.values()
        if len(kinds) > 1
    ]


def choose_dwi(rows: Sequence[Row]) -> Chosen:
    """Of several diffusion series keep the one with most volumes; of equals the first by name."""
    return _keep_first(
        rows,
        lambda row: row.scan if row.suffix == "dwi" else None,
        lambda row: (-(row.n_volumes or 0), row.path),
        "diffusion series",
    )


def choose_b1(rows: Sequence[Row]) -> Chosen:
    """Of several kinds of B1 acquisition keep the readiest, and of several sets of a kind the fullest, whole.

    Of equally full sets, and of ready maps, the first by name counts. Sensitivity images of the receive field are no
    other kind; of their sets the fullest counts, too.
    """
    files = Counter((row.scan, row.suffix) for row in rows if row.used)

    def readiness(row: Row) -> tuple[object, ...]:
        # A single image of a kind that takes two is no map, and must not displace a kind that is complete.
        single = row.suffix != "TB1map" and files[row.scan, row.suffix] < 2
        return single, B1_SUFFIXES.index(row.suffix)

    kept, problems = _keep_first(
        rows, lambda row: row.scan if row.suffix in B1_SUFFIXES else None, readiness, "kinds of B1 acquisition"
    )
    sizes = Counter((row.scan, row.suffix, row.set_name) for row in kept if row.used)

    def fullness(row: Row) -> tuple[object, ...]:
        if row.suffix == "TB1map":
            return (row.path,)
        return -sizes[row.scan, row.suffix, row.set_name], row.set_name

    for group, what in ((B1_SUFFIXES, "B1 maps"), ((RECEIVE_SUFFIX,), "sets of receive sensitivities")):
        kept, more = _keep_first(kept, _scan_of(group), fullness, what)
        problems += more
    return kept, problems


def _scan_of(suffixes: Sequence[str]) -> Callable[[Row], Hashable]:
    return lambda row: row.scan if row.suffix in suffixes else None


def _keep_first(
    rows: Sequence[Row],
    key: Callable[[Row], Hashable],
    rank: Callable[[Row], tuple[object, ...]],
    kind: str,
    *,
    label: Callable[[Row], str] | None = None,
) -> Chosen:
    """In each group keep the rows of the least rank, and say what else there was."""
    name = label or _label
    drop: dict[str, str] = {}
    problems: list[Problem] = []
    for group in groups_of(rows, key):
        ranks = sorted({rank(row) for row in group})  # type: ignore[type-var]
        if len(ranks) < 2:
            continue
        kept = next(row for row in group if rank(row) == ranks[0])
        others = [row for row in group if rank(row) != ranks[0]]
        names = ", ".join(dict.fromkeys(name(row) for row in others))
        why = f"one scan takes one; {name(kept)} counts, left out: {names}"
        remedy = "nothing, or set input.prefer, or move what should not count to sourcedata/"
        problems.append(Problem(kept.path, f"several {kind}", why, remedy, "notice"))
        drop |= {row.path: f"{name(kept)} counts" for row in others}
    return without(rows, drop), problems


def _label(row: Row, keys: Sequence[str] = ("acq", "ce", "rec", "dir", "run")) -> str:
    """Entities of a row that tell it from others of its scan, and its suffix."""
    if row.suffix == "T1w":
        keys = (*keys, "echo")
    named = [f"{key}-{getattr(row, key)}" for key in dict.fromkeys(keys) if getattr(row, key) is not None]
    return "_".join([*named, row.suffix])


def _acquisition(row: Row) -> Hashable:
    """Give what repeated runs have in common; None for rows that are no images of a scan."""
    if row.suffix in MPM_SUFFIXES:
        angle = row.flip_angle_deg if row.flip is None else None
        return row.scan, row.suffix, row.acq, row.ce, row.rec, row.mt, row.flip, angle
    if row.suffix in (*B1_SUFFIXES, RECEIVE_SUFFIX):
        # The volumes of a B1 acquisition (AFI's two TRs, EPI's echoes) are repeated together.
        return row.scan, row.suffix
    if row.suffix in ("dwi", "T1w"):
        return row.scan, row.suffix, row.acq, row.ce, row.rec, row.dir
    return None


def _set_aside(rows: Sequence[Row], condition: Callable[[Row], bool], reason: str) -> list[Row]:
    return without(rows, {row.path: reason for row in rows if condition(row)})
