# From a dataset's source to its splits in one common form.


rule download:
    input:
        source=lambda wildcards: looked_at(wildcards.dataset),
    output:
        "data/raw/{dataset}.json",
    log:
        "logs/{dataset}/download.log",
    conda:
        "../../envs/conda.yaml"
    resources:
        mem_mb=2000,
        runtime=600,
    params:
        recipe=sections("download"),
    shell:
        "unia download {wildcards.dataset} --out {output} --log {log}"


rule prepare:
    input:
        raw="data/raw/{dataset}.json",
    output:
        directory("data/{dataset}"),
    log:
        "logs/{dataset}/prepare.log",
    conda:
        "../../envs/conda.yaml"
    threads: 16
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        recipe=sections("prepare"),
    shell:
        "unia prepare {wildcards.dataset} --raw {input.raw} --out {output} --log {log}"
