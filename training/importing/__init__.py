"""`cxrserve models import`: published weights become a bundle that serves.

Nothing is imported here: the command line reads this file.
"""
