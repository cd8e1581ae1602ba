"""Days, TIV, quality, covariates and learning curves → the tables of scans and participants."""

from pathlib import Path

import pandas as pd

from plastimap.cohort import merge_quality, participant_table, scan_table
from plastimap.jobs import job_log
from plastimap.writing import read_json, write_table


def table(files):
    read = [pd.read_csv(file, sep="\t", na_values=["n/a"], dtype={"participant_id": str}) for file in files]
    return read[0] if read else None


with job_log(snakemake.log[0]):
    quality = merge_quality([(Path(file).name, read_json(file)) for file in snakemake.input.qa])
    scans = scan_table(snakemake.params.days, quality)
    people = participant_table(scans, table(snakemake.input.participants), table(snakemake.input.behaviour))
    write_table(snakemake.output.scans, scans)
    write_table(snakemake.output.participants, people)
