# Scores against the ground truth, and the tables that hold them.


rule score:
    input:
        data="data/{dataset}",
        predictions="results/{dataset}/{split}/predictions",
        crf="results/{dataset}/{split}/crf",
    output:
        "results/{dataset}/{split}/scores.json",
    log:
        "logs/{dataset}/score_{split}.log",
    conda:
        "../../envs/conda.yaml"
    threads: 16
    resources:
        mem_mb=8000,
        runtime=120,
    shell:
        "unia score {wildcards.dataset} --split {wildcards.split} --data {input.data}"
        " --predictions {input.predictions} --crf {input.crf} --out {output} --log {log}"


rule table:
    input:
        "results/{dataset}/{split}/scores.json",
    output:
        report(
            "results/{dataset}_{split}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "split": "{split}"},
        ),
    log:
        "logs/{dataset}/table_{split}.log",
    conda:
        "../../envs/conda.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    shell:
        "unia table {wildcards.dataset} --scores {input} --out {output} --log {log}"
