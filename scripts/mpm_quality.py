"""Maps and tissues of one scan → motion index, medians, flags; amplitude → proton density."""

import numpy as np

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_sidecar, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.mpm.quality import assess_maps
from plastimap.mpm.receive import calibrate_pd
from plastimap.paths import TISSUES
from plastimap.transforms import resample
from plastimap.writing import read_json, write_json

with job_log(snakemake.log[0]):
    maps = {name: read_volume(file) for name, file in zip(snakemake.params.maps, snakemake.input.maps, strict=True)}
    grid = maps["R2s"]
    # The structural image may have a grid of its own.
    tissues = {
        name: resample(read_volume(file), grid, np.eye(4), validity=False)
        for name, file in zip(TISSUES, snakemake.input.tissues, strict=True)
    }
    mask = resample(read_volume(snakemake.input.mask), grid, np.eye(4), order="nearest", validity=False) > 0
    images, notes = {name: volume.data for name, volume in maps.items() if name != "A"}, ()
    for file in snakemake.output.pd:
        bias = "measured" if read_json(snakemake.input.qa)["receive_measured"] else "n4"
        made = calibrate_pd(
            maps["A"].data, white_matter=tissues["WM"], brain=mask, voxel_size=grid.voxel_size, bias=bias
        )
        images["PD"], notes = made.image, made.notes
        sources = [*snakemake.input.maps, *snakemake.input.tissues]
        about = {"skull_stripped": False, "units": "p.u.", "notes": notes, "parameters": {"receive_field": bias}}
        write_volume(file, Volume(made.image, grid.affine), sidecar=map_sidecar(sources=sources, **about))
    series = read_volume(snakemake.input.contrasts).data
    contrasts = dict(zip(read_sidecar(snakemake.input.contrasts)["Contrasts"], np.moveaxis(series, -1, 0), strict=True))
    found = assess_maps(images, contrasts, tissues, voxel_size=grid.voxel_size)
    write_json(snakemake.output.qa, {**found, "notes": [*notes, *found["flags"]]})
