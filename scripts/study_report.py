"""The study's page."""

from plastimap.jobs import job_log
from plastimap.report.load import load_study
from plastimap.report.save import write_page
from plastimap.report.study import build_study

with job_log(snakemake.log[0]):
    page = build_study(load_study(".", title=snakemake.params.title))
    write_page(page, snakemake.output.page, snakemake.output.figures)
