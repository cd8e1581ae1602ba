"""Maps of one scan in the target space → their means over the labels, and the share of each that a lesion takes."""

import pandas as pd

from plastimap.brainage.lesions import VOLUME_ML, lesion_volume_ml
from plastimap.brainage.tables import read_text_table
from plastimap.brainage.volumes import as_labels, joined, label_means, labels_on, scan_lesion_shares
from plastimap.images import read_volume
from plastimap.jobs import job_log
from plastimap.warpfiles import read_warp
from plastimap.writing import write_table

with job_log(snakemake.log[0]):
    inputs, names = snakemake.input, snakemake.params.maps
    grey_matter, given = read_volume(inputs.grey_matter), read_volume(inputs.labels, dtype="int32")
    labels, image = as_labels(read_text_table(inputs.table), given.data), labels_on(given, grey_matter)
    maps = {name: read_volume(file).data for name, file in zip(names, inputs.maps, strict=True)}
    lesion = joined([read_volume(file) for file in inputs.lesions]) if inputs.lesions else None
    chain = [read_warp(inputs.person), read_warp(inputs.session)]

    scan = {"participant_id": snakemake.params.subject, "session": snakemake.params.session}
    means = label_means(image, labels, maps, grey_matter=grey_matter.data)
    shares = scan_lesion_shares(lesion, grey_matter, chain, image, labels, names)
    volume = lesion_volume_ml(lesion.data, lesion.voxel_volume) if lesion else None
    write_table(snakemake.output.means, pd.DataFrame([{**scan, **means}]))
    write_table(snakemake.output.lesions, pd.DataFrame([{**scan, VOLUME_ML: volume, **shares}]))
