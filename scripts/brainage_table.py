"""Parcel means of all scans → one table."""

import pandas as pd

from plastimap.brainage.tables import read_text_table
from plastimap.jobs import job_log
from plastimap.writing import write_table

with job_log(snakemake.log[0]):
    table = pd.concat([read_text_table(file) for file in snakemake.input], ignore_index=True)
    write_table(snakemake.output[0], table.dropna(axis="columns", how="all"))
