"""Register a person's midpoint image to the target space, by their tissues."""

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import read_volume
from plastimap.jobs import job_log
from plastimap.space.grids import target_grid
from plastimap.space.mni import template_to_mni
from plastimap.warpfiles import write_warp

with job_log(snakemake.log[0]):
    gm, wm = (read_volume(file) for file in snakemake.input.tissues)
    made = template_to_mni(gm, wm, grid=target_grid(snakemake.params.space["resolution"]))
    about = map_sidecar(
        sources=snakemake.input,
        description="Pull map: a point of the target to the same point of the midpoint (ITK displacement, LPS mm)",
        notes=made.notes,
        Dice=made.dice,
        JacobianRange=made.jacobian_range,
        FoldingShare=made.folding,
    )
    write_warp(snakemake.output.warp, made.warp, sidecar=about)
