"""Maps and tissue volumes of one scan, smoothed inside each tissue."""

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import ANALYSED_TISSUES, ERROR_MAPS, UNITS, kind
from plastimap.space.mni import averaged
from plastimap.space.smooth import known_volume, tissue_weighted, tissue_weighted_error
from plastimap.space.target import read_target
from plastimap.transforms import grid_of

with job_log(snakemake.log[0]):
    maps = dict(zip(snakemake.params.maps, snakemake.input.maps, strict=True))
    given = list(snakemake.input.modulated)
    volumes = dict(zip(ANALYSED_TISSUES, map(read_volume, given), strict=bool(given)))
    notes = []
    if not given:
        # Warped maps that were made elsewhere come without this person's tissues.
        notes.append("smoothed with the template's tissue probabilities: the person's own are not there")
        standard, grid = read_target(snakemake.params.template).standard, grid_of(read_volume(snakemake.input.maps[0]))
        volumes = {tissue: averaged(getattr(standard, tissue.lower()), grid) for tissue in ANALYSED_TISSUES}

    for (name, tissue), file in zip(snakemake.params.pairs, snakemake.output.images, strict=True):
        weight, fwhm = volumes[tissue], snakemake.params.kernels[kind(name)][tissue]
        if name == "vbm":
            data = known_volume(weight.data, fwhm, weight.voxel_size)
        elif name in ERROR_MAPS:
            data = tissue_weighted_error(read_volume(maps[name]).data, weight.data, fwhm, weight.voxel_size)
        else:
            data = tissue_weighted(read_volume(maps[name]).data, weight.data, fwhm, weight.voxel_size)
        about = map_sidecar(
            sources=[*([maps[name]] if name in maps else []), *given],
            skull_stripped=True,
            units=UNITS[name],
            parameters={"FWHM_mm": fwhm, "tissue": tissue},
            resolution_mm=snakemake.params.resolution,
            notes=notes,
        )
        write_volume(file, Volume(data, weight.affine), sidecar=about)
