"""Days, TIV, quality, covariates and learning curves → the tables of scans and participants."""

from pathlib import Path

import pandas as pd

from plastimap.cohort import merge_quality, participant_table, read_participants, scan_table
from plastimap.jobs import job_log
from plastimap.writing import read_json, write_table

with job_log(snakemake.log[0]):
    quality = merge_quality([(Path(file).name, read_json(file)) for file in snakemake.input.qa])
    scans = scan_table(snakemake.params.days, quality)
    people = [read_participants(file, text=snakemake.params.labels) for file in snakemake.input.participants]
    fits = [pd.read_csv(file, sep="\t", na_values=["n/a"]) for file in snakemake.input.behaviour]
    write_table(snakemake.output.scans, scans)
    write_table(snakemake.output.participants, participant_table(scans, *(people or [None]), *(fits or [None])))
