# Pictures of a run, and the pages of the report.


rule figures:
    input:
        data=prepared,
        checkpoint="results/{run}/train/checkpoint.safetensors",
        losses="results/{run}/train/losses.csv",
        predictions="results/{run}/{split}/predictions",
        crf="results/{run}/{split}/crf",
        scores="results/{run}/{split}/scores.json",
        images="results/{run}/{split}/images.csv",
    output:
        report(
            directory("results/{run}/{split}/figures"),
            patterns=["{figure}.png"],
            caption="../report/figures.rst",
            category="Figures",
            labels={"run": "{run}", "split": "{split}", "figure": "{figure}"},
        ),
    log:
        "logs/{run}/figures_{split}.log",
    conda:
        "../../envs/conda.yaml"
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=30,
    params:
        recipe=sections("figures"),
    shell:
        "unia figures {wildcards.run} --split {wildcards.split} --data {input.data}"
        " --checkpoint {input.checkpoint} --predictions {input.predictions} --crf {input.crf}"
        " --scores {input.scores} --images {input.images} --losses {input.losses} --out {output} --log {log}"


rule show:
    input:
        table="results/{dataset}_{split}.csv",
        published="docs/published.csv",
    output:
        report(
            "results/{dataset}/{split}/table.html",
            caption="../report/published.rst",
            category="Tables",
            labels={
                "dataset": "{dataset}",
                "split": "{split}",
                "content": "scores, published ones beside",
            },
        ),
    log:
        "logs/{dataset}/show_{split}.log",
    conda:
        "../../envs/conda.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        recipe=sections("table"),
    shell:
        "unia show {input.table} --published {input.published} --html {output} > {log} 2>&1"


rule card:
    input:
        "data/{dataset}",
    output:
        report(
            "results/{dataset}/{split}/card.html",
            caption="../report/card.rst",
            category="Data",
            labels={"dataset": "{dataset}", "split": "{split}"},
        ),
    log:
        "logs/{dataset}/card_{split}.log",
    conda:
        "../../envs/conda.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        recipe=sections("prepare"),
    shell:
        "unia card {input} {wildcards.split} --out {output} > {log} 2>&1"


rule reported:
    input:
        expand("results/{dataset}_val.csv", dataset=PARAMS.run),
        expand(
            "results/{dataset}/val/{what}",
            dataset=PARAMS.run,
            what=("table.html", "card.html", "figures"),
        ),
