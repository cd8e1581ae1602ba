"""Echoes and B1+ of one scan → R1, R2*, MTsat, PD."""

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.mpm.b1 import b1_on_grid, b1_ratio
from plastimap.mpm.grouping import group_echoes
from plastimap.mpm.protocol import fit_maps
from plastimap.paths import UNITS
from plastimap.writing import write_json

with job_log(snakemake.log[0]):
    settings = snakemake.params.settings
    volumes = [read_volume(file) for file in snakemake.input.echoes]
    echoes, protocol = group_echoes(volumes, snakemake.params.protocol)
    grid = volumes[0]
    b1 = None
    for file in snakemake.input.b1:
        measured = read_volume(file)
        units, flip = (snakemake.params.protocol[key] for key in ("b1_units", "b1_flip_deg"))
        ratio = b1_ratio(measured.data, units or "", nominal_flip_deg=flip)
        b1 = b1_on_grid(Volume(ratio, measured.affine), grid)

    fitted = fit_maps(
        echoes,
        protocol,
        b1=b1,
        r2s_fit=settings["r2s_fit"],
        small_angle=settings["small_angle"],
        b1_correction=settings["b1_correction"],
        b1_constant=settings["b1_constant"],
    )

    images = {"R1": fitted.r1, "R2s": fitted.r2s, "MTsat": fitted.mtsat, "PD": fitted.pd}
    sources = [*snakemake.input.echoes, *snakemake.input.b1]
    for name, file in zip(snakemake.params.maps, snakemake.output.maps, strict=True):
        about = map_sidecar(sources=sources, units=UNITS[name], parameters=settings, notes=fitted.notes)
        write_volume(file, Volume(images[name], grid.affine), sidecar={**about, "SkullStripped": False})
    write_json(snakemake.output.qa, {**fitted.qa, "notes": fitted.notes})
