"""Behaviour tables → tidy values, learning curves, and the tests on them."""

import pandas as pd

from plastimap.behaviour.curves import fit_all
from plastimap.behaviour.tables import read_tables
from plastimap.behaviour.tests import behaviour_tests
from plastimap.jobs import job_log
from plastimap.writing import write_table

with job_log(snakemake.log[0]):
    outcomes = snakemake.params.settings["outcomes"]
    tidy = read_tables(snakemake.input.tables, outcomes)
    fits = fit_all(tidy, outcomes)
