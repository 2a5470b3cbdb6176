"""The kinds of prediction that are scored: rows of every table, folders of label maps, names in MLflow."""

FROM_LABELS = ("cam", "cam_best", "cam_aux", "affinity", "mutual")
"""Made with the true image-level labels; they exist where those do."""

FROM_TRUTH = "cam_best"
"""The CAM at the threshold of best mIoU, which the ground truth chose: made when it is scored."""

FINAL = "seg_ms_crf"
"""What the whole pipeline comes to, and figures show by default."""

SEGMENTATIONS = ("seg", "seg_ms", "seg_ms_filtered", FINAL)
"""Made without image-level labels; filtered: of the classes alone that the classifier finds in the image."""

KINDS = (*FROM_LABELS, *SEGMENTATIONS)

INFERRED = tuple(kind for kind in KINDS if kind not in (FROM_TRUTH, FINAL))
"""Those that `unia infer` writes."""
