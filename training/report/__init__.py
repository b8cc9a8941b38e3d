"""`cxrserve evaluate`: a bundle on a test set, as figures, tables and one page that shows them."""

from training.report.evaluate_bundle import Wanted, evaluate_bundle, write_comparison, write_report
from training.report.evaluation import Evaluation
from training.report.facts import FitFacts, People, RunFacts, people_of, shapes_of
from training.report.scores import Scores, score_bundle

__all__ = [
    "Evaluation",
    "FitFacts",
    "People",
    "RunFacts",
    "Scores",
    "Wanted",
    "evaluate_bundle",
    "people_of",
    "score_bundle",
    "shapes_of",
    "write_comparison",
    "write_report",
]
