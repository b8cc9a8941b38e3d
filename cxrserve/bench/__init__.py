"""Load on a service, honestly measured: open loop, so that a slow service cannot slow its own questions.

bare.py     the engines alone
command.py  `cxrserve bench`
load.py     requests at a service
measure.py  the whole measurement
report.py   table of the measurements for the terminal
service.py  a service in a process of its own
stages.py   time of an image by stage, from the Prometheus metrics of the service
"""
