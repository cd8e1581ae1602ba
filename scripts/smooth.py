"""Maps and tissue volumes of one scan, smoothed inside each tissue."""

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import UNITS, kind
from plastimap.space.smooth import gaussian, tissue_weighted

with job_log(snakemake.log[0]):
    maps = dict(zip(snakemake.params.maps, snakemake.input.maps, strict=True))
    modulated = {tissue: read_volume(file) for tissue, file in zip(("GM", "WM"), snakemake.input.modulated, strict=True)}
    for (name, tissue), file in zip(snakemake.params.pairs, snakemake.output.images, strict=True):
        weight, fwhm = modulated[tissue], snakemake.params.kernels[kind(name)][tissue]
        sources = [] if name == "vbm" else [maps[name]]
        if name == "vbm":
            data = gaussian(weight.data, fwhm, weight.voxel_size)
        else:
            data = tissue_weighted(read_volume(maps[name]).data, weight.data, fwhm, weight.voxel_size)
        about = map_sidecar(
            sources=[*sources, *snakemake.input.modulated], units=UNITS[name], parameters={"FWHM_mm": fwhm}, **snakemake.params.space
        )
        write_volume(file, Volume(data, weight.affine), sidecar=about)
