"""The report and its figures, made by the commands of the README."""

from pathlib import Path

import mlflow
import pytest
from project import Project

from unia.files import read_json

FIGURES = [
    *("chosen", "class_iou", "co_occurrence", "confusion", "learning_curves"),
    *("sizes", "thresholds", "worst", "wrong_pixels"),
]

pytest_plugins = "computed"
pytestmark = pytest.mark.slow


def test_the_report_holds_tables_figures_and_the_card(by_snakemake: Project, tmp_path: Path) -> None:
    project = by_snakemake.copy(tmp_path)
    figures = project.folder / "results/shapes/val/figures"
    assert sorted(path.stem for path in figures.iterdir() if path.suffix == ".png") == FIGURES
    receipt = read_json(figures.with_name("figures.run.json"))
    assert set(receipt["params"]) == {"pseudo_label", "infer"}
    project.ok("snakemake", "--report", "report.html", "--", "reported")
    page = (project.folder / "report.html").read_text()
    for what in (*(f"{name}.png" for name in FIGURES), "shapes_val.csv", "table.html", "card.html"):
        assert what in page
    assert "The images of lowest mIoU after the CRF" in page
    assert project.rules("reported") == []
    mlflow.set_tracking_uri(f"sqlite:///{project.folder}/mlflow.db")
    client = mlflow.MlflowClient()
    run = client.get_run(receipt["mlflow_run_id"])
    logged = sorted(item.path for item in client.list_artifacts(run.info.run_id))
    assert logged == [f"{name}.png" for name in FIGURES]
