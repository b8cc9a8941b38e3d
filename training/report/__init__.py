"""`cxrserve evaluate`: a bundle on a test set, as figures, tables and one page that shows them.

`evaluate_bundle.evaluate_bundle` is the way in. Nothing is imported here: the command line reads this file.

averages.py            means over findings, and their spread over folds and seeds
cams.py                examples with the Grad-CAM of every scale and of the ensemble
claims.py              the papers' claims beside the figures
command.py             `cxrserve evaluate`
comparison_tables.py   tables of several bundles beside each other
comparison.py          the page of several bundles on the same data
evaluate_bundle.py     evaluation of a bundle on a test set
evaluation.py          all the numbers of a report
facts.py               facts about a run that a report shows besides scores
fields.py              the receptive fields of a bundle's members
figures_data.py        figures of the data, the fits and the networks' fields of view
figures_decisions.py   figures of calibration, and of what deciding by the probabilities gains
figures_pictures.py    figures of whole radiographs
figures_resolution.py  the figure of AUC against image size
figures_scores.py      figures of ranking
files.py               image files as samples
film_check_groups.py   the film check's decisions about the test images, by group
footprint.py           footprint of one member in service
heatmaps.py            heatmaps of a bundle, on the engine that serves it
html.py                HTML put together from parts
measures.py            measures of ranking and of calibration, with their uncertainty
outputs.py             some test images with their labels and answers
own_folds.py           the folds and seeds of a bundle's run
partial_scores.py      scores that are written as they come
pictured.py            material of a report's figures, besides the numbers
pooled.py              pooled scores of a cross-validation
score_images.py        scoring of many images
scores.py              scores of a bundle on a test set, through the path that serves
sections.py            the report's page, section by section
style.py               style of the figures
tables.py              the report's tables, in the form of the papers they come from
"""
