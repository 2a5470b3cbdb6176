# Training, and what the trained network predicts.


rule train:
    input:
        data=prepared,
        weights=lambda wildcards: weights(wildcards.run),
    output:
        checkpoint="results/{run}/train/checkpoint.safetensors",
        losses="results/{run}/train/losses.csv",
    log:
        "logs/{run}/train.log",
    benchmark:
        "benchmarks/out/{run}/train.tsv"
    conda:
        "../../envs/conda.yaml"
    threads: per_gpu("train", 16)
    resources:
        gpu=1,
        nodes=1,  # on which all of them are
        mem_mb=per_gpu("train", 32000),
        runtime=1440,
    params:
        recipe=sections("train"),
    shell:
        "unia train {wildcards.run} --data {input.data} --out results/{wildcards.run}/train --log {log}"
        " --processes {resources.gpu}"


rule infer:
    input:
        data=prepared,
        checkpoint="results/{run}/train/checkpoint.safetensors",
        parts=parts("infer"),
    output:
        directory("results/{run}/{split}/predictions"),
    log:
        "logs/{run}/infer_{split}.log",
    benchmark:
        "benchmarks/out/{run}/infer_{split}.tsv"
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
        "unia infer {wildcards.run} --split {wildcards.split} --data {input.data}"
        " --checkpoint {input.checkpoint} --out {output} --log {log}"


rule crf:
    input:
        data=prepared,
        predictions="results/{run}/{split}/predictions",
        parts=parts("crf"),
    output:
        directory("results/{run}/{split}/crf"),
    log:
        "logs/{run}/crf_{split}.log",
    benchmark:
        "benchmarks/out/{run}/crf_{split}.tsv"
    conda:
        "../../envs/conda.yaml"
    threads: 16
    resources:
        mem_mb=16000,
        runtime=480,
    params:
        recipe=sections("crf"),
    shell:
        "unia crf {wildcards.run} --split {wildcards.split} --data {input.data}"
        " --predictions {input.predictions} --out {output} --log {log}"
