"""Group tissue masks, the search volume of each hemisphere × tissue, and the study's mean image."""

import numpy as np

from plastimap.images import Volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import ANALYSED_TISSUES, TISSUES
from plastimap.space.atlases import TERMS, with_images
from plastimap.space.average import mean_volume
from plastimap.space.mni import averaged
from plastimap.space.regionfiles import region_images
from plastimap.space.search import search_volumes, tissue_masks
from plastimap.space.target import read_target
from plastimap.transforms import grid_of
from plastimap.writing import write_json

with job_log(snakemake.log[0]):
    wanted = with_images(snakemake.params.rois)
    structural = mean_volume(snakemake.input.structural)
    grid, notes = grid_of(structural), [TERMS] if any("atlas" in roi for roi in wanted) else []
    if snakemake.input.GM:
        means = {tissue: mean_volume(snakemake.input[tissue]).data for tissue in TISSUES}
    else:
        notes.append("analysis masks from the template's tissue probabilities: the people's own are not there")
        standard = read_target(snakemake.params.space["template"]).standard
        means = {"GM": averaged(standard.gm, grid).data, "WM": averaged(standard.wm, grid).data}

    masks = tissue_masks(means, snakemake.params.thresholds)
    images, chains = region_images(wanted)
    target = snakemake.params.space["target"]
    search = search_volumes(wanted, masks, grid, images=images, transforms=chains, space=target)
    for tissue, mask_file, search_file in zip(
        ANALYSED_TISSUES, snakemake.output.masks, snakemake.output.search, strict=True
    ):
        write_volume(mask_file, Volume(masks[tissue], grid[1]))
        write_volume(search_file, Volume(search.labels[tissue], grid[1]))
    write_volume(snakemake.output.mean, Volume(np.nan_to_num(structural.data), grid[1]))
    write_json(snakemake.output.qa, {"voxels": search.voxels, "notes": [*notes, *search.notes]})
