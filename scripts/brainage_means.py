"""Maps of one scan in the target space → their means over the labels."""

import pandas as pd

from plastimap.brainage.tables import read_text_table
from plastimap.brainage.volumes import as_labels, label_means
from plastimap.images import read_volume
from plastimap.jobs import job_log
from plastimap.writing import write_table

with job_log(snakemake.log[0]):
    image = read_volume(snakemake.input.labels, dtype="int32").data
    labels = as_labels(read_text_table(snakemake.input.table), image)
    maps = {
        name: read_volume(file).data for name, file in zip(snakemake.params.maps, snakemake.input.maps, strict=True)
    }
    means = label_means(image, labels, maps, grey_matter=read_volume(snakemake.input.grey_matter).data)
    scan = {"participant_id": snakemake.params.subject, "session": snakemake.params.session}
    write_table(snakemake.output[0], pd.DataFrame([{**scan, **means}]))
