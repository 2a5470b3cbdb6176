# Parts of infer and crf, each a job of its own: `--set-scatter infer=4 crf=16`. A part finishes its images where an
# interrupted step would leave them, and the step itself then finds them done: it writes what it would have written.


scattergather:
    infer=1,
    crf=1,


rule infer_part:
    input:
        data=prepared,
        checkpoint="results/{run}/train/checkpoint.safetensors",
    output:
        temp(touch("results/{run}/{split}/infer.{scatteritem}")),
    log:
        "logs/{run}/infer_{split}_{scatteritem}.log",
    conda:
        "../../envs/conda.yaml"
    threads: 16
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=480,
    params:
        recipe=sections("infer"),
    shell:
        "unia infer {wildcards.run} --split {wildcards.split} --data {input.data} --checkpoint {input.checkpoint}"
        " --out results/{wildcards.run}/{wildcards.split}/predictions --part {wildcards.scatteritem} --log {log}"


rule crf_part:
    input:
        data=prepared,
        predictions="results/{run}/{split}/predictions",
    output:
        temp(touch("results/{run}/{split}/crf.{scatteritem}")),
    log:
        "logs/{run}/crf_{split}_{scatteritem}.log",
    conda:
        "../../envs/conda.yaml"
    threads: 16
    resources:
        mem_mb=16000,
        runtime=480,
    params:
        recipe=sections("crf"),
    shell:
        "unia crf {wildcards.run} --split {wildcards.split} --data {input.data} --predictions {input.predictions}"
        " --out results/{wildcards.run}/{wildcards.split}/crf --part {wildcards.scatteritem} --log {log}"
