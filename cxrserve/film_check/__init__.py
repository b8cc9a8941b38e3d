"""The film check: what lies on the film, how it lies, and whether it is like the films that are known.

decision.py   the decision about a film
look.py       one look at a film
network.py    the network in an ONNX Runtime session
reference.py  distance of a film from a reference, and its rank
"""
