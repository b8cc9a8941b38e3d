"""From the bytes of a file to its prediction. Read `pipeline.py` first.

observation.py    the numbers of one film for the watch
pipeline.py       decode pool and predictor: bytes in, a reading out
triage.py         decisions that stop at the first scale that settles them
"""
