"""The archives that the datasets' own sites offer (checksums: of the sites, or of torchvision)."""

from unia.data.fetch import Archive

VOC_TRAINVAL = Archive(
    (
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    ),
    1_999_639_040,
    "6cd6e144f989b92b3379bac3b3de84fd",
)
SBD = Archive(
    ("https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",),
    1_419_539_633,
    "82b4d87ceb2ed10f6038a1cba92111cb",
)


def _coco(path: str, size: int, md5: str) -> Archive:
    """One of COCO's archives: in its bucket by https, or where its site says, by http alone."""
    hosts = ("https://s3.amazonaws.com/images.cocodataset.org", "http://images.cocodataset.org")
    return Archive(tuple(f"{host}/{path}" for host in hosts), size, md5)


COCO = (
    _coco("zips/train2014.zip", 13_510_573_713, "0da8c0bd3d6becc4dcb32757491aca88"),
    _coco("zips/val2014.zip", 6_645_013_297, "a3d79f5ed8d289b7a7554ce06a5782b3"),
    _coco("annotations/annotations_trainval2014.zip", 252_872_794, "0a379cfc70b0e71301e0f377548639bd"),
)

ALL = (VOC_TRAINVAL, SBD, *COCO)
