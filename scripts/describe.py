"""Say what the output folder is."""

from plastimap.bids.description import dataset_description, ignore_list, readme
from plastimap.jobs import job_log
from plastimap.writing import read_json, write_json, write_text

with job_log(snakemake.log[0]):
    plan = read_json(snakemake.input[0])
    write_json(snakemake.output.description, dataset_description(snakemake.params.raw))
    write_text(snakemake.output.ignore, ignore_list())
    write_text(snakemake.output.readme, readme(plan))
