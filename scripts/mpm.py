"""Echoes, B1+ and receive field of one scan → R1, R2*, MTsat, A and their standard errors."""

from plastimap.anat.grids import drawn_on
from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.mpm.alignment import reference_head
from plastimap.mpm.b1_maps import measured_b1
from plastimap.mpm.receive import sensitivities
from plastimap.mpm.scan import process_scan, read_settings
from plastimap.paths import UNITS, WITH_ERRORS
from plastimap.writing import write_json

with job_log(snakemake.log[0]):
    protocol, settings, inputs = snakemake.params.protocol, snakemake.params.settings, snakemake.input
    volumes, b1, receive, lesions = (
        [read_volume(file) for file in files] for files in (inputs.echoes, inputs.b1, inputs.receive, inputs.lesions)
    )
    grid, lesion, contrasts = volumes[0], drawn_on(volumes[0], lesions), list(dict.fromkeys(protocol["weighting"]))
    head = reference_head(volumes, protocol["weighting"], lesion=lesion) if settings["align"] else None
    ratio, b1_notes = measured_b1(b1, protocol["b1"], grid, head=head) if b1 else (None, ())
    coils, coil_notes = (
        sensitivities(receive, protocol["receive"], grid, contrasts=contrasts) if receive else (None, ())
    )
    made = process_scan(
        volumes,
        protocol,
        read_settings(settings, protocol),
        align=settings["align"],
        denoise=settings["denoise"],
        b1=ratio,
        receive=coils,
        lesion=lesion,
    )

    notes = [*b1_notes, *coil_notes, *made.notes]
    about = {"sources": [*map(str, snakemake.input)], "skull_stripped": False, "parameters": settings, "notes": notes}
    with_errors = [name for name in snakemake.params.maps if name in WITH_ERRORS]
    for images, names, files in (
        (made.maps, snakemake.params.maps, snakemake.output.maps),
        (made.standard_errors, with_errors, snakemake.output.errors),
    ):
        for name, file in zip(names, files, strict=True):
            sidecar = map_sidecar(**about, units=UNITS[name])
            write_volume(file, Volume(images[name], grid.affine), sidecar=sidecar)
    sidecar = map_sidecar(**about, units="1/s", Contrasts=list(made.contrast_r2s))
    write_volume(snakemake.output.contrasts, Volume(made.contrast_r2s_series, grid.affine), sidecar=sidecar)
    write_json(snakemake.output.qa, {**made.qa, "receive_measured": bool(receive), "notes": notes})
