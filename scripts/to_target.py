"""Every map and tissue of a scan to the target grid: one composed warp, one interpolation."""

import numpy as np

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import ANALYSED_TISSUES, DWI_MAPS, TISSUES, UNITS
from plastimap.space.lesions import lesion_masks, touched
from plastimap.space.quality import refuse_misplaced, scan_quality
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
    structural, scan = read_volume(inputs.tissues[0]), snakemake.wildcards.scan
    hurt = touched(lesion_masks(inputs.lesions, [scan], [structural])[0], structural, grid, to_session)
    ways, about = [inputs.session, inputs.person], {"resolution_mm": snakemake.params.space["resolution"]}
    once = {"parameters": {"interpolation": "linear, once"}, "notes": ["NaN in the lesion"] if hurt.any() else []}

    def bring(file, chain):
        return np.where(hurt, np.float32(np.nan), resample(read_volume(file), grid, chain))

    for name, source, output in zip(snakemake.params.maps, inputs.maps, outputs.maps, strict=True):
        chain, files = ([to_session, *to_dwi], [*ways, *inputs.dwi]) if name in DWI_MAPS else (to_session, ways)
        sources, stripped = [source, *files, *inputs.lesions], name in DWI_MAPS
        sidecar = map_sidecar(sources=sources, skull_stripped=stripped, units=UNITS[name], **once, **about)
        write_volume(output, Volume(bring(source, chain), grid[1]), sidecar=sidecar)
    for name, source, output in zip(TISSUES, inputs.tissues, outputs.tissues, strict=True):
        sources, warped[name] = [source, *ways, *inputs.lesions], bring(source, to_session)
        kind = {"skull_stripped": True, "description": f"Probability of {name}"}
        sidecar = map_sidecar(sources=sources, **kind, **once, **about)
        write_volume(output, Volume(warped[name], grid[1]), sidecar=sidecar)

    determinant, own = read_volume(inputs.jacobian).data, [read_volume(file) for file in inputs.template_tissues]
    standard, brain = read_target(snakemake.params.space["template"]).standard, sum(one.data for one in own) > 0.5
    qa = scan_quality(warped, standard, grid, session_jacobian=determinant, brain=brain)
    refuse_misplaced({name: qa[f"dice_{name}"] for name in ANALYSED_TISSUES}, qa["session_folding_share"], scan)
    write_json(outputs.qa, qa)
    about["parameters"] = {"interpolation": "linear, twice: into the midpoint, and from there"}
    about["description"] = "Tissue volume per voxel: midpoint tissue × Jacobians of session and of midpoint to target"
    for source, tissue, output in zip(inputs.template_tissues, own, outputs.modulated, strict=True):
        volume = modulated(tissue, person, grid, session_jacobian=determinant)
        sidecar = map_sidecar(sources=[source, inputs.jacobian, inputs.person], skull_stripped=True, **about)
        write_volume(output, Volume(volume, grid[1]), sidecar=sidecar)
