"""Everybody's midpoint tissues → a template of the study, and its warps to and from the target space."""

from plastimap.bids.sidecars import map_sidecar
from plastimap.images import read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.space.mni import template_to_mni, working_tissues
from plastimap.space.study_template import study_template
from plastimap.space.target import read_target
from plastimap.warpfiles import write_warp

with job_log(snakemake.log[0]):
    space, inputs, outputs = snakemake.params.space, snakemake.input, snakemake.output
    target = read_target(space["template"])
    people = [working_tissues(read_volume(gm), read_volume(wm)) for gm, wm in zip(inputs.GM, inputs.WM, strict=True)]
    choices = {"standard": target.standard, "engine": space["registration"]}
    made = study_template(people, **choices)
    placed = template_to_mni(made.tissues.gm, made.tissues.wm, grid=target.grid(space["resolution"]), **choices)
    for tissue, volume, output in zip(("GM", "WM"), (made.tissues.gm, made.tissues.wm), outputs.tissues, strict=True):
        about = map_sidecar(sources=inputs[tissue], skull_stripped=True, ChangePerRound=made.changes)
        write_volume(output, volume, sidecar=about)
    ways = {"target to study": placed.warp, "study to target": placed.inverse}
    for (words, warp), output in zip(ways.items(), outputs.warps, strict=True):
        about = map_sidecar(
            sources=outputs.tissues,
            skull_stripped=None,
            notes=placed.notes,
            description=f"Pull map {words}",
            Dice=placed.dice,
        )
        write_warp(output, warp, sidecar=about)
