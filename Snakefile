# UniA: from raw data to tables of scores. Every rule runs one `unia` command; dvc.yaml holds the same ones.
#
#   snakemake --cores all results/shapes_val.csv

import os

from snakemake.utils import min_version

min_version("9.27")


configfile: os.environ.get("UNIA_PARAMS", "params.yaml")  # a copy of it, where a job of a cluster reads it again


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/parts.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/report.smk"


rule all:
    input:
        expand("results/{dataset}_val.csv", dataset=PARAMS.run),
