"""Rigid pull matrix from a scan's structural image to its b = 0 image."""

from plastimap.images import read_volume
from plastimap.jobs import job_log
from plastimap.space.coregister import coregister
from plastimap.space.lesions import lesion_masks
from plastimap.warpfiles import write_matrix
from plastimap.writing import write_json

with job_log(snakemake.log[0]):
    structural, mask = read_volume(snakemake.input.structural), read_volume(snakemake.input.mask).data > 0
    b0, b0_mask = read_volume(snakemake.input.b0), read_volume(snakemake.input.b0_mask).data > 0
    lesion = lesion_masks(snakemake.input.lesions, [snakemake.wildcards.scan], [structural])[0]
    made = coregister(structural, mask, b0, b0_mask, lesion=lesion)
    write_json(snakemake.output.qa, {**made.qa, "notes": made.notes})
    write_matrix(snakemake.output.transform, made.matrix)
