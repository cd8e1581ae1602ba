"""Longitudinal model of one map in one tissue."""

from pathlib import Path

import numpy as np
import pandas as pd

from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.stats.analysis import analyse
from plastimap.stats.tables import file_stem, model_summary
from plastimap.writing import write_json, write_table

with job_log(snakemake.log[0]):
    model, inference = snakemake.params.model, snakemake.params.inference
    labels = {"participant_id": str, "session": str, **({model["group"]: str} if model["group"] else {})}
    read = {"sep": "\t", "na_values": ["n/a"], "dtype": labels}
    scans = pd.read_csv(snakemake.input.scans, **read).set_index("scan").loc[list(snakemake.params.labels)]
    mask, search = read_volume(snakemake.input.mask), read_volume(snakemake.input.search)
    inside = mask.data > 0
    result = analyse(
        np.stack([read_volume(file).data[inside] for file in snakemake.input.images]),
        scans.reset_index(),
        pd.read_csv(snakemake.input.participants, **read),
        map_name=snakemake.wildcards.map,
        tissue=snakemake.wildcards.tissue,
        mask=inside,
        search_volumes={side: search.data == label for label, side in enumerate(("L", "R"), start=1)},
        affine=mask.affine,
        terms=model["terms"],
        coding=model["coding"],
        centre_days=model["centre_days"],
        group=model["group"],
        covariates=model["covariates"],
        contrasts=model["contrasts"],
        cluster_forming_p=inference["cluster_forming_p"],
        minimum_extent=inference["minimum_extent"],
        minimum_subjects=snakemake.params.minimum_subjects,
    )
    folder = Path(snakemake.output.maps)
    folder.mkdir(parents=True, exist_ok=True)
    for test in result.tests:
        for kind, values in (("stat-t", test.t), ("stat-effect", test.effect)):
            name = folder / f"{file_stem(test)}_{kind}_statmap.nii.gz"
            write_volume(name, Volume(result.volume(values), mask.affine))
    write_json(snakemake.output.model, model_summary(result))
    write_table(snakemake.output.trajectories, result.cluster_scans)
    write_table(snakemake.output.families, result.families)
    write_table(snakemake.output.clusters, result.clusters)
