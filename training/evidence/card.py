"""The Hugging Face front matter of a bundle's README.md: licence, tags, and measured figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from training.evidence.figures import REPORT, Evidence
from training.evidence.words import Words

README: Final = "README.md"
_FENCE: Final = "---\n"


def front_matter(evidence: Evidence, words: Words) -> str:
    """The YAML between two lines of dashes."""
    report = evidence.report
    content: dict[str, Any] = {
        "license": words.licence,
        "library_name": "cxrserve",
        "pipeline_tag": "image-classification",
        "tags": ["chest-x-ray", "medical-imaging", "onnx"],
        "model-index": [
            {
                "name": f"{evidence.contract.name} {evidence.contract.version}",
                "results": [
                    {
                        "task": {"type": "image-classification", "name": figure.finding},
                        "dataset": {"type": "chest-radiographs", "name": report["data"]},
                        "metrics": [
                            {
                                "type": "roc_auc" if figure.measure == "AUC" else figure.measure,
                                "value": figure.value,
                                "name": f"{figure.measure} of {figure.finding} ({REPORT}#{figure.source})",
                            }
                        ],
                    }
                    for figure in evidence.figures
                    if not figure.group
                ],
            }
        ],
    }
    return _FENCE + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110) + _FENCE


def with_front_matter(readme: str, matter: str) -> str:
    """The page with the front matter, in the place of an older one."""
    if readme.startswith(_FENCE):
        _, _, rest = readme.removeprefix(_FENCE).partition("\n" + _FENCE)
        readme = rest
    return f"{matter}\n{readme.lstrip()}"


def write_front_matter(bundle: Path, matter: str) -> None:
    """Put the front matter before the bundle's README.md, which is made if there is none."""
    path = bundle / README
    readme = path.read_text("utf-8") if path.exists() else ""
    path.write_text(with_front_matter(readme, matter), "utf-8")
