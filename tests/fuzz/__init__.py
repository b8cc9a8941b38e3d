"""A standing fuzz of what the service itself parses, with an oracle of cost besides that of correctness.

costs.py        the cost of one call: CPU seconds and bytes
structures.py   generated DICOM objects: nested, empty, private, deflated, of undefined length, and damaged
targets.py      the parsers that run in the service on bytes of strangers
loop.py         objects through one target, with the cost of each
decoders.py     damaged images through the real decode workers
test_fuzz.py    some seconds of it
__main__.py     as long as wanted: `make fuzz`
"""
