"""All clusters of the study in one table, corrected across every family that was tested."""

from pathlib import Path

import numpy as np
import pandas as pd

from plastimap.jobs import job_log
from plastimap.stats.families import correct_families
from plastimap.writing import write_table

with job_log(snakemake.log[0]):
    read = {"sep": "\t", "na_values": ["n/a"]}
    families, clusters = (
        [pd.read_csv(file, **read) for file in files] for files in (snakemake.input.families, snakemake.input.clusters)
    )
    nulls = [np.load(Path(folder) / "nulls.npy") for folder in snakemake.input.maps]
    corrected = correct_families(families, clusters, method=snakemake.params.method, nulls=nulls)
    print(f"{len(corrected.families)} families were tested.")
    write_table(snakemake.output.families, corrected.families)
    write_table(snakemake.output.clusters, corrected.clusters)
