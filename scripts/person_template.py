"""All sessions of a person → midpoint image, its tissues, and each session's warp."""

from pathlib import Path

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import ANALYSED_TISSUES
from plastimap.space.template import midpoint
from plastimap.space.tissues import mean_tissues
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
    both = zip(snakemake.input.GM, snakemake.input.WM, strict=True)
    sessions = [dict(zip(ANALYSED_TISSUES, map(read_volume, files), strict=True)) for files in both]
    tissues = mean_tissues(sessions, made.transforms)
    for name, output in zip(ANALYSED_TISSUES, snakemake.output.tissues, strict=True):
        write_volume(output, tissues[name], sidecar=map_sidecar(**about, sources=snakemake.input[name]))
    write_volume(
        snakemake.output.template,
        made.template,
        sidecar=map_sidecar(**about, sources=snakemake.input.structural, Members=members),
    )
