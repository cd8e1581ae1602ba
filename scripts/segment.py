"""Structural image of one scan → brain mask, GM, WM, CSF, intracranial volume."""

from plastimap.anat.grids import drawn_on
from plastimap.anat.pipeline import segment_scan
from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.paths import TISSUES, UNITS
from plastimap.writing import write_json

with job_log(snakemake.log[0]):
    contrast = snakemake.params.contrast
    structural = read_volume(snakemake.input.structural)
    made = segment_scan(
        structural,
        quantitative=contrast != "T1w",
        mask=drawn_on(structural, [read_volume(file) for file in snakemake.input.mask]),
        lesion=drawn_on(structural, [read_volume(file) for file in snakemake.input.lesions]),
        mask_method=snakemake.params.brain_mask,
    )

    about = {"sources": list(snakemake.input), "notes": made.notes, "BrainMask": made.mask_method}
    within = {**about, "skull_stripped": True}
    # The image is as it was measured: only where nothing but a brain was found in it is there no face.
    stripped = made.mask_method == "foreground"
    write_volume(
        snakemake.output.structural,
        Volume(made.corrected, structural.affine),
        sidecar=map_sidecar(**about, skull_stripped=stripped, units=UNITS.get(contrast, "arbitrary")),
    )
    write_volume(
        snakemake.output.mask, Volume(made.mask, structural.affine), sidecar=map_sidecar(**within, Type="Brain")
    )
    for name, file in zip(TISSUES, snakemake.output.tissues, strict=True):
        tissue = Volume(getattr(made, name.lower()), structural.affine)
        write_volume(file, tissue, sidecar=map_sidecar(**within, description=f"Probability of {name}"))
    found = {"tiv_ml": made.tiv_ml, **made.qa, "priors_dice": made.priors_dice, "mask_method": made.mask_method}
    write_json(snakemake.output.qa, {**found, "notes": made.notes})
