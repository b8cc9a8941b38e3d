"""Training: from images on disk to a bundle that serves. May import cxrserve, never its api.

cache/           pyramids on disk
calibration/     calibration of a bundle on labelled images
cli/             `cxrserve train` and `cxrserve models init`
datasets/        datasets on disk to one Manifest
evidence/        evidence documents
film_check/      the film check's training
fit/             fitting the network of one size
importing/       `cxrserve models import`
networks/        networks
phantom/         phantom chest radiographs
precision/       other arithmetic than float32
recipes/         recipes
report/          `cxrserve evaluate`
stamp.py         stamp of a finished step
steps/           the steps of `cxrserve train`, one file each
subprocesses.py  child processes that end with their parent, also when it is killed
triage/          calibration of early decisions
"""
