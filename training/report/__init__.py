"""`cxrserve evaluate`: a bundle on a test set, as figures, tables and one page that shows them.

`evaluate_bundle.evaluate_bundle` is the way in. Nothing is imported here: the command line reads this file.
"""
