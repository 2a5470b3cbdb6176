# Training, and what the trained network predicts.


rule train:
    input:
        data="data/{dataset}",
    output:
        directory("results/{dataset}/train"),
    log:
        "logs/{dataset}/train.log",
    benchmark:
        "benchmarks/out/{dataset}/train.tsv"
    conda:
        "../../envs/conda.yaml"
    threads: 16
    resources:
        gpu=1,
        mem_mb=32000,
        runtime=1440,
    params:
        recipe=sections("train"),
    shell:
        "unia train {wildcards.dataset} --data {input.data} --out {output} --log {log}"


rule infer:
    input:
        data="data/{dataset}",
        model="results/{dataset}/train",
    output:
        directory("results/{dataset}/{split}/predictions"),
    log:
        "logs/{dataset}/infer_{split}.log",
    benchmark:
        "benchmarks/out/{dataset}/infer_{split}.tsv"
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
        "unia infer {wildcards.dataset} --split {wildcards.split} --data {input.data}"
        " --checkpoint {input.model}/checkpoint.safetensors --out {output} --log {log}"


rule crf:
    input:
        data="data/{dataset}",
        predictions="results/{dataset}/{split}/predictions",
    output:
        directory("results/{dataset}/{split}/crf"),
    log:
        "logs/{dataset}/crf_{split}.log",
    benchmark:
        "benchmarks/out/{dataset}/crf_{split}.tsv"
    conda:
        "../../envs/conda.yaml"
    threads: 16
    resources:
        mem_mb=16000,
        runtime=480,
    params:
        recipe=sections("crf"),
    shell:
        "unia crf {wildcards.dataset} --split {wildcards.split} --data {input.data}"
        " --predictions {input.predictions} --out {output} --log {log}"
