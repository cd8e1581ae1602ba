"""Parcel means of all scans → one table with people's ages; their lesioned shares → another."""

import pandas as pd

from plastimap.brainage.people import with_days
from plastimap.brainage.tables import ABOUT_PEOPLE, read_text_table, with_people
from plastimap.jobs import job_log
from plastimap.writing import write_table


def stacked(files):
    """Tables one below the other, without columns that nobody has."""
    return pd.concat(map(read_text_table, files), ignore_index=True).dropna(axis="columns", how="all")


with job_log(snakemake.log[0]):
    table = with_days(stacked(snakemake.input.means), snakemake.params.days)
    for file in snakemake.input.people:
        people = read_text_table(file)
        table = with_people(table, people[[name for name in ABOUT_PEOPLE if name in people]], name=file)
    write_table(snakemake.output.table, table)
    write_table(snakemake.output.lesions, stacked(snakemake.input.lesions))
