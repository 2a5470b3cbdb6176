"""UniA: weakly supervised semantic segmentation, as a reproducible experiment system."""
