"""Diffusion series of one scan → FA, MD, AD, RD."""

from plastimap.bids.sidecars import map_sidecar
from plastimap.dwi.gradients import read_gradients
from plastimap.dwi.pipeline import process_dwi
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import DWI_MAPS, UNITS
from plastimap.writing import write_json

with job_log(snakemake.log[0]):
    series = read_volume(snakemake.input.dwi)
    bvals, bvecs = read_gradients(snakemake.input.bval, snakemake.input.bvec)
    parameters = {**snakemake.params.settings, **snakemake.params.protocol}
    made = process_dwi(series, bvals, bvecs, **parameters)

    about = {"sources": list(snakemake.input), "parameters": parameters, "notes": made.notes}
    images = [
        (file, getattr(made, name.lower()), UNITS[name])
        for name, file in zip(DWI_MAPS, snakemake.output.maps, strict=True)
    ]
    images += [
        (snakemake.output.b0, made.mean_b0, "arbitrary"),
        (snakemake.output.mask, made.mask, None),
        (snakemake.output.direction, made.direction, "1"),
    ]
    for file, data, units in images:
        more = {"Type": "Brain"} if file == snakemake.output.mask else {}
        write_volume(file, Volume(data, series.affine), sidecar=map_sidecar(**about, units=units, **more))
    write_json(snakemake.output.qa, {**made.qa, "notes": made.notes})
