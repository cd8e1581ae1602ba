"""Longitudinal model of one map in one tissue."""

from pathlib import Path

import numpy as np
import pandas as pd

from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import motion_column
from plastimap.stats.analysis import analyse
from plastimap.stats.settings import analysis_settings
from plastimap.stats.study import with_motion
from plastimap.stats.tables import model_summary, statistic_maps
from plastimap.writing import write_json, write_table

with job_log(snakemake.log[0]):
    model, inference = snakemake.params.model, snakemake.params.inference
    labels = {"participant_id": str, "session": str, **({model["group"]: str} if model["group"] else {})}
    read = {"sep": "\t", "na_values": ["n/a"], "dtype": labels}
    scans = (
        pd.read_csv(snakemake.input.scans, **read).set_index("scan").loc[list(snakemake.params.labels)].reset_index()
    )
    if model["weighting"] == "motion":
        index = scans.get(motion_column(snakemake.wildcards.map), default=float("nan"))
        scans = with_motion(scans, scans.assign(motion_index=index))
    mask, search = read_volume(snakemake.input.mask), read_volume(snakemake.input.search)
    inside = mask.data > 0

    def values(files):
        return np.stack([read_volume(file).data[inside] for file in files])

    result = analyse(
        values(snakemake.input.images),
        scans,
        pd.read_csv(snakemake.input.participants, **read),
        map_name=snakemake.wildcards.map,
        tissue=snakemake.wildcards.tissue,
        mask=inside,
        search_volumes={side: search.data == label for label, side in enumerate(("L", "R"), start=1)},
        affine=mask.affine,
        errors=values(snakemake.input.errors) if snakemake.input.errors else None,
        **analysis_settings(model, inference, minimum_subjects=snakemake.params.minimum_subjects),
    )
    folder = Path(snakemake.output.maps)
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in statistic_maps(result, bayes_scale=inference["bayes_scale"]):
        write_volume(folder / f"{name}.nii.gz", Volume(values, mask.affine))
    np.save(folder / "nulls.npy", result.nulls)
    write_table(folder / "maxima.tsv", result.maxima)
    write_json(snakemake.output.model, model_summary(result))
    write_table(snakemake.output.trajectories, result.cluster_scans)
    write_table(snakemake.output.families, result.families)
    write_table(snakemake.output.clusters, result.clusters)
