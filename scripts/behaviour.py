"""Behaviour tables → tidy values, learning curves, and the tests on them."""

from plastimap.behaviour.summary import analyse
from plastimap.behaviour.tables import read, tidy
from plastimap.behaviour.training import read_log, training_summary
from plastimap.cohort import read_participants
from plastimap.jobs import job_log
from plastimap.writing import write_table

with job_log(snakemake.log[0]):
    settings = snakemake.params.settings
    outcomes = settings["outcomes"]
    values = tidy([read(file) for file in snakemake.input.tables], outcomes=list(outcomes), days=snakemake.params.days)
    groups = None
    for file in snakemake.input.participants:
        people = read_participants(file, text=snakemake.params.labels)
        for column in set(snakemake.params.labels) & set(people):
            groups = dict(zip(people["participant_id"], people[column], strict=True))
    asked = {key: settings[key] for key in ("comparisons", "retention_days")}
    result = analyse(values, outcomes, groups=groups, **asked)
    for note in result.notes:
        print(note)
    write_table(snakemake.output.tidy, values)
    write_table(snakemake.output.fits, result.curves)
    write_table(snakemake.output.tests, result.tests)
    write_table(snakemake.output.sides, result.sides)
    write_table(snakemake.output.training, training_summary(read_log(snakemake.input.training)))
