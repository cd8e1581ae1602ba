"""Longitudinal model of one map in one tissue."""

from pathlib import Path

import numpy as np
import pandas as pd

from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import motion_column
from plastimap.stats.analysis import analyse
from plastimap.stats.asymmetry import REMARK, both_sides, right_minus_left
from plastimap.stats.preservation import asked_preservation
from plastimap.stats.settings import analysis_settings
from plastimap.stats.study import with_motion
from plastimap.stats.tables import model_summary, statistic_maps
from plastimap.stats.timecourses import compare_courses
from plastimap.writing import write_json, write_table

with job_log(snakemake.log[0]):
    model, inference = snakemake.params.model, snakemake.params.inference
    labels = {"participant_id": str, "session": str, **({model["group"]: str} if model["group"] else {})}
    read = {"sep": "\t", "na_values": ["n/a"], "dtype": labels}
    scans = (
        pd.read_csv(snakemake.input.scans, **read).set_index("scan").loc[list(snakemake.params.labels)].reset_index()
    )
    participants = pd.read_csv(snakemake.input.participants, **read)
    if model["weighting"] == "motion":
        index = scans.get(motion_column(snakemake.wildcards.map), default=float("nan"))
        scans = with_motion(scans, scans.assign(motion_index=index))
    mask, search = read_volume(snakemake.input.mask), read_volume(snakemake.input.search)
    volumes, errors = (
        [read_volume(file).data for file in files] for files in (snakemake.input.images, snakemake.input.errors)
    )
    searches = {side: search.data == label for label, side in enumerate(("L", "R"), start=1)}
    if model["asymmetry"]:
        sides = right_minus_left(volumes, mask.data > 0, searches, mask.affine, errors=errors)
    else:
        sides = both_sides(volumes, mask.data > 0, searches, errors=errors)
    result = analyse(
        sides.maps,
        scans,
        participants,
        map_name=snakemake.wildcards.map,
        tissue=snakemake.wildcards.tissue,
        mask=sides.mask,
        search_volumes=sides.search_volumes,
        affine=mask.affine,
        errors=sides.errors,
        remarks=[REMARK] if model["asymmetry"] else [],
        **analysis_settings(model, inference, minimum_subjects=snakemake.params.minimum_subjects),
    )
    preserved = asked_preservation(sides, scans, participants, model)
    folder = Path(snakemake.output.maps)
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in statistic_maps(result, bayes_scale=inference["bayes_scale"]):
        write_volume(folder / f"{name}.nii.gz", Volume(values, mask.affine))
    np.save(folder / "nulls.npy", result.nulls)
    write_table(folder / "maxima.tsv", result.maxima)
    write_table(snakemake.output.trajectories, result.cluster_scans)
    write_table(snakemake.output.courses, compare_courses(result.cluster_scans, knots=model["rival_knots"]))
    write_table(snakemake.output.preservation, preserved.people)
    write_json(snakemake.output.model, model_summary(result, preserved))
    write_table(snakemake.output.families, result.families)
    write_table(snakemake.output.clusters, result.clusters)
