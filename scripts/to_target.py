"""Every map and tissue of a scan to the target grid: one composed warp, one interpolation."""

import numpy as np

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import DWI_MAPS, TISSUES, UNITS
from plastimap.space.grids import target_grid
from plastimap.space.vbm import modulated
from plastimap.transforms import compose, resample
from plastimap.warpfiles import read_matrix, read_warp

with job_log(snakemake.log[0]):
    grid, inputs, outputs = target_grid(snakemake.params.space["resolution"]), snakemake.input, snakemake.output
    to_session = compose([read_warp(inputs.person), read_warp(inputs.session)], grid)
    to_dwi = [read_matrix(file) for file in inputs.dwi]
    about = {"resolution_mm": snakemake.params.space["resolution"], "parameters": {"interpolation": "linear, once"}}

    def bring(file, chain):
        return resample(read_volume(file), grid, chain)

    for name, source, output in zip(snakemake.params.maps, inputs.maps, outputs.maps, strict=True):
        data = bring(source, [to_session, *(to_dwi if name in DWI_MAPS else [])])
        sidecar = map_sidecar(sources=[source, inputs.session, inputs.person], units=UNITS[name], **about)
        write_volume(output, Volume(data, grid[1]), sidecar=sidecar)
    for name, source, output in zip(TISSUES, inputs.tissues, outputs.tissues, strict=True):
        sidecar = map_sidecar(
            sources=[source, inputs.session, inputs.person], description=f"Probability of {name}", **about
        )
        write_volume(output, Volume(np.nan_to_num(bring(source, to_session)), grid[1]), sidecar=sidecar)

    determinant = read_volume(inputs.jacobian).data
    for source, output in zip(inputs.template_tissues, outputs.modulated, strict=True):
        volume = modulated(read_volume(source), read_warp(inputs.person), grid, session_jacobian=determinant)
        what = "Tissue volume per voxel: midpoint tissue × session's Jacobian × Jacobian of midpoint to target"
        sidecar = map_sidecar(sources=[source, inputs.jacobian, inputs.person], description=what, **about)
        write_volume(output, Volume(volume, grid[1]), sidecar=sidecar)
