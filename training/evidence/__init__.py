"""Evidence documents of a bundle: every number in them comes from its contract and its `report.json`.

bom.py         CycloneDX 1.6 ML-BOM
card.py        the Hugging Face front matter of the bundle's README.md
chai.py        the CHAI Applied Model Card, XSD v0.2
checklists.py  CLAIM 2024 and TRIPOD+AI 2024: where each item stands
command.py     `cxrserve models evidence`
figures.py     the figures of report.json, each with its place there
people.py      subgroups of a table of people
words.py       words that no measurement can give, from `card.yaml`
"""
