# Scores against the ground truth, and the tables that hold them.


rule score:
    input:
        data=prepared,
        predictions="results/{run}/{split}/predictions",
        crf="results/{run}/{split}/crf",
    output:
        scores="results/{run}/{split}/scores.json",
        images="results/{run}/{split}/images.csv",
    log:
        "logs/{run}/score_{split}.log",
    conda:
        "../../envs/conda.yaml"
    threads: 16
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        recipe=sections("score"),
    shell:
        "unia score {wildcards.run} --split {wildcards.split} --data {input.data}"
        " --predictions {input.predictions} --crf {input.crf} --out {output.scores} --images {output.images} --log {log}"


rule volumes:
    input:
        data="data/{dataset}",
        labels="results/{dataset}/{split}/crf",
    output:
        directory("results/{dataset}/{split}/volumes"),
    log:
        "logs/{dataset}/volumes_{split}.log",
    conda:
        "../../envs/conda.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        recipe=sections("volumes"),
    shell:
        "unia volumes {wildcards.dataset} --split {wildcards.split} --data {input.data}"
        " --labels {input.labels} --out {output} --log {log}"


rule table:
    input:
        "results/{dataset}/{split}/scores.json",
    output:
        metrics="results/{dataset}_{split}.json",
        table=report(
            "results/{dataset}_{split}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "split": "{split}", "content": "scores"},
        ),
    log:
        "logs/{dataset}/table_{split}.log",
    conda:
        "../../envs/conda.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        recipe=sections("table"),
    shell:
        "unia table {wildcards.dataset} --scores {input} --out {output.table} --metrics {output.metrics} --log {log}"


rule ablation:
    input:
        lambda wildcards: expand(
            "results/{run}/{split}/images.csv",
            run=ablation_runs(wildcards),
            split="val",
        ),
    output:
        report(
            "results/ablation_{dataset}.csv",
            caption="../report/ablation.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "split": "val", "content": "ablation"},
        ),
    log:
        "logs/{dataset}/ablation.log",
    conda:
        "../../envs/conda.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        changes=lambda wildcards: told(PARAMS.changes, wildcards.dataset),
        recipes=lambda wildcards: {
            run: parameters(run, "ablation") for run in ablation_runs(wildcards)
        },
    shell:
        "unia ablation {wildcards.dataset} --results results --split val --out {output} --log {log}"
