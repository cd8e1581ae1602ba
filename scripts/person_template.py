"""All sessions of a person → midpoint image, its tissues, and each session's warp."""

from pathlib import Path

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import ANALYSED_TISSUES
from plastimap.space.lesions import MIDPOINT_MASK, lesion_masks
from plastimap.space.template import midpoint
from plastimap.space.tissues import mean_tissues
from plastimap.transforms import invert
from plastimap.warpfiles import write_warp

with job_log(snakemake.log[0]):
    members, weighted = list(snakemake.params.members), snakemake.params.contrast == "T1w"
    volumes = [read_volume(file) for file in snakemake.input.structural]
    masks = [read_volume(file).data > 0 for file in snakemake.input.masks]
    lesions = lesion_masks(snakemake.input.lesions, members, volumes)
    made = midpoint(volumes, masks=masks, lesions=lesions, equalise=weighted)

    folder = Path(snakemake.output.transforms)
    for label, volume, warp, jacobian in zip(members, volumes, made.transforms, made.jacobians, strict=True):
        write_warp(folder / f"{label}_xfm.nii.gz", warp)
        write_warp(folder / f"{label}_inverse.nii.gz", invert(warp, volume))
        write_volume(folder / f"{label}_jacobian.nii.gz", Volume(jacobian, made.template.affine))
    write_volume(folder / MIDPOINT_MASK, Volume(made.mask, made.template.affine))
    both = zip(snakemake.input.GM, snakemake.input.WM, strict=True)
    sessions = [dict(zip(ANALYSED_TISSUES, map(read_volume, files), strict=True)) for files in both]
    mean = mean_tissues(sessions, made.transforms, lesions=lesions, brain=made.mask, names=members)
    left_out = ["lesions were left out of the match"] if snakemake.input.lesions else []
    about = {"reference": snakemake.output.template, "notes": [*made.notes, *left_out, *mean.notes]}
    for name, output in zip(ANALYSED_TISSUES, snakemake.output.tissues, strict=True):
        write_volume(
            output, mean.tissues[name], sidecar=map_sidecar(**about, sources=snakemake.input[name], skull_stripped=True)
        )
    write_volume(
        snakemake.output.template,
        made.template,
        sidecar=map_sidecar(**about, sources=snakemake.input.structural, skull_stripped=False, Members=members),
    )
