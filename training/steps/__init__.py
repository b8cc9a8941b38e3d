"""The steps of `cxrserve train`, one file each; what is done is not done again.

calibrate.py    the step `calibrate`
calibration.py  calibration of stacked probabilities, which is the identity for now, and thresholds
checks.py       checks before a run
deliver.py      delivery of the finished bundle
evaluate.py     the step `evaluate`
export.py       the step `export`
expected_times.py  times that a run is expected to take on this machine
facts.py        facts of a run for its report, besides scores
film_check.py   the step `film-check`
fit.py          the step `fit`
fit_stack.py    fit the stack
label_checks.py checks of labels against what a recipe needs
label_counts.py counts of labels, and the check against the paper's
lineage.py      lineage of a bundle
lock.py         lock of a work folder
model_card.py   model card
networks.py     the network of one size as a recipe wants it, new or fitted
parallel.py     tasks side by side, each in a process of its own, whose progress is shown here
patient_hashes.py  hashes of the patients of a trial, beside its bundle
plan.py         plan of a run, for `--dry-run`
prepare.py      the step `prepare`
progress.py     protocols for progress reporting, and the progress that shows nothing
run.py          a run in its work folder
run_steps.py    all steps in their order, by the name of their `cxrserve train` command
settings.py     settings of a run in words
stack.py        the step `stack`
step.py         step of a trial
targets.py      targets of a recipe from a dataset's labels
triage.py       early decisions of a bundle
untrained.py    an untrained bundle at full size
variants.py     variants in half precision and 8-bit integers, gated
"""
