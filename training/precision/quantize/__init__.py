"""Members in 8-bit integers, and the gate that each must pass before it may serve.

ensemble.py    the ensemble's gate
images.py      the images that calibrate a variant, and those that judge it, as they are served
int8_graph.py  A member's graph in 8-bit integers
integers.py    precisions of CPUs: bfloat16 gated, a variant in 8-bit integers made
quantize.py    A bundle's members in fewer digits
"""
