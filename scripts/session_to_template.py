"""A session's warp from the midpoint, its inverse and its Jacobian; a session that joins later is registered here."""

from pathlib import Path

from plastimap.bids.sidecars import map_sidecar, source_uri
from plastimap.images import Volume, read_volume, write_volume
from plastimap.jobs import job_log
from plastimap.space.lesions import MIDPOINT_MASK, lesions_of_both
from plastimap.space.template import register_session
from plastimap.transforms import invert
from plastimap.warpfiles import read_warp, write_warp

with job_log(snakemake.log[0]):
    ready = Path(snakemake.input.transforms) / f"{snakemake.wildcards.scan}_xfm.nii.gz"
    template = read_volume(snakemake.input.template)
    notes = []
    if ready.exists():
        warp, inverse = read_warp(ready), read_warp(ready.with_name(f"{snakemake.wildcards.scan}_inverse.nii.gz"))
        jacobian = read_volume(ready.with_name(f"{snakemake.wildcards.scan}_jacobian.nii.gz")).data
    else:
        notes.append("joined a template that was frozen before this session: it is not part of the midpoint")
        session, mask = read_volume(snakemake.input.structural), read_volume(snakemake.input.mask).data > 0
        brain = read_volume(Path(snakemake.input.transforms) / MIDPOINT_MASK).data > 0
        lesions, scan = snakemake.input.lesions, snakemake.wildcards.scan
        theirs, own = lesions_of_both(lesions, scan, session, snakemake.input.transforms, template)
        weighted = snakemake.params.contrast == "T1w"
        about = {"template_mask": brain, "session_mask": mask, "template_lesion": theirs, "session_lesion": own}
        warp, jacobian = register_session(template, session, equalise=weighted, **about)
        notes += ["lesions were left out of the match"] if lesions else []
        inverse = invert(warp, session)
    about = map_sidecar(
        sources=[snakemake.input.structural, snakemake.input.template],
        skull_stripped=None,
        notes=notes,
        reference=snakemake.input.template,
        description="Pull map: a point of the midpoint to the same point of the session",
    )
    write_warp(snakemake.output.warp, warp, sidecar=about)
    about["Description"] = "Jacobian determinant of the pull map: above 1 where the session is larger than the midpoint"
    write_volume(snakemake.output.jacobian, Volume(jacobian, template.affine), sidecar=about)
    about["Description"] = "Pull map: a point of the session to the same point of the midpoint"
    about["SpatialReference"] = source_uri(snakemake.input.structural)
    write_warp(snakemake.output.inverse, inverse, sidecar=about)
