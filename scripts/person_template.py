"""All sessions of a person → midpoint image, its tissues, and each session's warp."""

from pathlib import Path

import numpy as np

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.space.template import midpoint
from plastimap.transforms import resample
from plastimap.warpfiles import write_warp

with job_log(snakemake.log[0]):
    members, weighted = list(snakemake.params.members), snakemake.params.contrast == "T1w"
    volumes = [read_volume(file) for file in snakemake.input.structural]
    masks = [read_volume(file).data > 0 for file in snakemake.input.masks]
    made = midpoint(volumes, masks=masks, equalise=weighted)

    folder = Path(snakemake.output.transforms)
    for label, warp, jacobian in zip(members, made.transforms, made.jacobians, strict=True):
        write_warp(folder / f"{label}_xfm.nii.gz", warp)
        write_volume(folder / f"{label}_jacobian.nii.gz", Volume(jacobian, made.template.affine))
    about = {"reference": snakemake.output.template, "notes": made.notes}
    for files, output in zip((snakemake.input.GM, snakemake.input.WM), snakemake.output.tissues, strict=True):
        pulled = [resample(read_volume(f), made.template, w) for f, w in zip(files, made.transforms, strict=True)]
        tissue = Volume(np.nan_to_num(np.mean(pulled, axis=0)), made.template.affine)
        write_volume(output, tissue, sidecar=map_sidecar(**about, sources=files))
    write_volume(
        snakemake.output.template,
        made.template,
        sidecar=map_sidecar(**about, sources=snakemake.input.structural, Members=members),
    )
