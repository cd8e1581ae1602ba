"""Every map and tissue of a scan to the target grid: one composed warp, one interpolation."""

import numpy as np

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import DWI_MAPS, TISSUES, UNITS
from plastimap.space.quality import scan_quality
from plastimap.space.target import read_target
from plastimap.space.vbm import modulated
from plastimap.transforms import compose, resample
from plastimap.warpfiles import read_matrix, read_warp
from plastimap.writing import write_json

with job_log(snakemake.log[0]):
    inputs, outputs, person = snakemake.input, snakemake.output, read_warp(snakemake.input.person)
    grid, warped = person.grid, {}
    to_session = compose([person, read_warp(inputs.session)], grid)
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
        warped[name] = np.nan_to_num(bring(source, to_session))
        write_volume(output, Volume(warped[name], grid[1]), sidecar=sidecar)

    determinant = read_volume(inputs.jacobian).data
    own = [read_volume(file) for file in inputs.template_tissues]
    standard, brain = read_target(snakemake.params.space["template"]).standard, sum(one.data for one in own) > 0.5
    qa = scan_quality(warped, standard, grid, session_jacobian=determinant, brain=brain)
    write_json(outputs.qa, qa)
    for source, tissue, output in zip(inputs.template_tissues, own, outputs.modulated, strict=True):
        volume = modulated(tissue, person, grid, session_jacobian=determinant)
        what = "Tissue volume per voxel: midpoint tissue × session's Jacobian × Jacobian of midpoint to target"
        sidecar = map_sidecar(sources=[source, inputs.jacobian, inputs.person], description=what, **about)
        write_volume(output, Volume(volume, grid[1]), sidecar=sidecar)
