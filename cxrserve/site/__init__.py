"""The site file: what one hospital adopted on its own films, bound to one bundle and one arithmetic.

check.py    a site file compared with later labels: the local acceptance test
diff.py     the numbers and decisions in which two site files differ
draft.py    a site file from films and labels
file.py     the site file: its fields, loading, binding, and its use with a bundle
films.py    the scores and labels of a site's films
fitting.py  calibrations: fitted on half of the patients, adopted where the other half shows a gain
history.py  the chain of a site's versions
labels.py   the table of labels
pairs.py    pairs of thresholds for rule-out and rule-in
points.py   operating points for a target
"""
