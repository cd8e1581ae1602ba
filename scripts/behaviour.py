"""Behaviour tables → tidy values, learning curves, and the tests on them."""

import pandas as pd

from plastimap.behaviour.summary import analyse
from plastimap.behaviour.tables import read, tidy
from plastimap.jobs import job_log
from plastimap.writing import write_table

with job_log(snakemake.log[0]):
    outcomes = snakemake.params.settings["outcomes"]
    values = tidy([read(file) for file in snakemake.input.tables], outcomes=list(outcomes), days=snakemake.params.days)
    groups = None
    for file in snakemake.input.participants:
        people = pd.read_csv(file, sep="\t", na_values=["n/a"], dtype=str)
        if snakemake.params.group in people:
            groups = dict(zip(people["participant_id"], people[snakemake.params.group], strict=True))
    result = analyse(values, outcomes, groups=groups)
    for note in result.notes:
        print(note)
    write_table(snakemake.output.tidy, values)
    write_table(snakemake.output.fits, result.curves)
    write_table(snakemake.output.tests, result.tests)
    write_table(snakemake.output.sides, result.sides)
