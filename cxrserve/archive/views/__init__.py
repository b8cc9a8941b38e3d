"""Read-only views of the archive. Read `worklist.py` first.

worklist.py       studies, images and results, for the API and the viewer
metrics.py        gauges for Prometheus
"""
