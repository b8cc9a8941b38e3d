"""Admission and queueing of images in front of the engines. Read `batcher.py` first.

batcher.py        worker threads that run batches on the devices
queue.py          the queue: order and batches
admission.py      admits or refuses requests by memory and expected wait; reservations
wait_estimate.py  the expected wait
request.py        one image from admission to answer, and its cancellation token
"""
