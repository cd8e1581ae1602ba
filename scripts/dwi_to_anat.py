"""Rigid pull matrix from a scan's structural image to its b = 0 image."""

import numpy as np

from plastimap.images import Volume, read_volume
from plastimap.jobs import job_log
from plastimap.registration import overlap_share, rigid, shared_information
from plastimap.transforms import resample
from plastimap.warpfiles import write_matrix
from plastimap.writing import write_json

with job_log(snakemake.log[0]):
    structural, mask = read_volume(snakemake.input.structural), read_volume(snakemake.input.mask).data > 0
    b0, b0_mask = read_volume(snakemake.input.b0), read_volume(snakemake.input.b0_mask)
    fixed = Volume(np.where(mask, structural.data, 0), structural.affine)
    moving = Volume(np.where(b0_mask.data > 0, b0.data, 0), b0.affine)
    matrix = rigid(fixed, moving, metric="NMI")

    brought = resample(b0_mask, structural, matrix, order="nearest", validity=False) > 0
    dice = 2 * (brought & mask).sum() / (brought.sum() + mask.sum())
    qa = {
        "coreg_mask_dice": dice,
        "coreg_overlap": overlap_share(matrix, fixed, moving),
        "coreg_information_nats": shared_information(fixed, moving, matrix),
    }
    write_json(snakemake.output.qa, qa)
    write_matrix(snakemake.output.transform, matrix)
