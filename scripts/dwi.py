"""Diffusion series of one scan → FA, MD, AD, RD."""

from plastimap.bids.sidecars import map_sidecar
from plastimap.dwi.field_files import read_field
from plastimap.dwi.gradients import read_gradients
from plastimap.dwi.pipeline import process_dwi
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import DWI_MAPS, UNITS
from plastimap.writing import write_json

with job_log(snakemake.log[0]):
    given, about_field = snakemake.input, snakemake.params.field
    series = read_volume(given.dwi)
    bvals, bvecs = read_gradients(given.bval, given.bvec)
    parameters = {**snakemake.params.settings, **snakemake.params.protocol}
    field = read_field(given.fields, given.field_bval, **about_field) if about_field else None
    made = process_dwi(series, bvals, bvecs, field=field, **parameters)

    about = {"sources": list(given), "parameters": {**parameters, "field": about_field}, "notes": made.notes}
    images = [
        (file, getattr(made, name.lower()), UNITS[name])
        for name, file in zip(DWI_MAPS, snakemake.output.maps, strict=True)
    ]
    images += [
        (snakemake.output.b0, made.mean_b0, "arbitrary"),
        (snakemake.output.mask, made.mask, None),
        (snakemake.output.direction, made.direction, "1"),
        (snakemake.output.residual, made.residual, "arbitrary"),
    ]
    for file, data, units in images:
        more = {"Type": "Brain"} if file == snakemake.output.mask else {}
        stripped = file != snakemake.output.b0
        sidecar = map_sidecar(**about, skull_stripped=stripped, units=units, **more)
        write_volume(file, Volume(data, series.affine), sidecar=sidecar)
    write_json(snakemake.output.qa, {**made.qa, "notes": made.notes})
