"""Labels of an image → table of parcels (every label once per map) and of those that touch."""

import pandas as pd

from plastimap.brainage.tables import read_text_table
from plastimap.brainage.volumes import as_labels, parcels_of_labels
from plastimap.images import read_volume
from plastimap.jobs import job_log
from plastimap.writing import write_table

with job_log(snakemake.log[0]):
    image = read_volume(snakemake.input.labels, dtype="int32").data
    labels = as_labels(read_text_table(snakemake.input.table), image)
    parcels = parcels_of_labels(labels, image, snakemake.params.maps)
    names = parcels.names
    columns = {"name": names, "hemisphere": parcels.hemispheres, "network": parcels.networks}
    write_table(snakemake.output.parcels, pd.DataFrame(columns).assign(measure=parcels.measures))
    edges = pd.DataFrame([(names[i], names[j]) for i, j in parcels.edges.tolist()], columns=["one", "other"])
    write_table(snakemake.output.edges, edges)
