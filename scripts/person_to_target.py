"""Register a person's midpoint image to the target space by their tissues, or to the study's template on the way."""

import numpy as np

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import Volume, read_volume
from plastimap.jobs import job_log
from plastimap.space.mni import Standard, template_to_mni
from plastimap.space.quality import refuse_misplaced
from plastimap.space.target import read_target
from plastimap.transforms import compose
from plastimap.warpfiles import read_warp, write_warp

with job_log(snakemake.log[0]):
    space, inputs = snakemake.params.space, snakemake.input
    target = read_target(space["template"])
    grid, standard = target.grid(space["resolution"]), target.standard
    if inputs.study_tissues:
        standard = Standard(*map(read_volume, inputs.study_tissues))
    gm, wm = (read_volume(file) for file in inputs.tissues)
    # What is a lesion in one session only is sound tissue of the others here.
    lesion = Volume(np.isnan(gm.data).astype(np.float32), gm.affine) if inputs.lesions else None
    made = template_to_mni(
        gm,
        wm,
        grid=standard.gm if inputs.study_tissues else grid,
        standard=standard,
        lesion=lesion,
        engine=space["registration"],
    )
    refuse_misplaced(made.dice, made.folding, f"the midpoint of sub-{snakemake.wildcards.subject}")
    there, back = made.warp, made.inverse
    if inputs.study_warps:
        to_study, from_study = map(read_warp, inputs.study_warps)
        there, back = compose([to_study, there], grid), compose([back, from_study], gm)
    about = {
        "skull_stripped": None,
        "Dice": made.dice,
        "JacobianRange": made.jacobian_range,
        "FoldingShare": made.folding,
    }
    notes = [*made.notes, *(["lesions were left out of the match"] if lesion else [])]
    ways = {"target to midpoint": there, "midpoint to target": back}
    for (words, warp), output in zip(ways.items(), snakemake.output.warps, strict=True):
        what = f"Pull map {words}: a point of the one to the same point of the other"
        write_warp(output, warp, sidecar=map_sidecar(sources=inputs.tissues, description=what, notes=notes, **about))
