"""The study's pages, result viewers, and the files for a paper."""

from plastimap.jobs import job_log
from plastimap.report.load_study import load_study
from plastimap.report.save import write_files, write_page
from plastimap.report.study import build_study
from plastimap.writing import write_text

with job_log(snakemake.log[0]):
    report = build_study(load_study(".", title=snakemake.params.title))
    write_files(report.viewers, snakemake.output.viewers)
    write_files(report.paper.files, snakemake.output.paper)
    write_text(snakemake.output.rating, report.rating)
    write_page(report.page, snakemake.output.page, snakemake.output.figures)
