"""Other arithmetic than float32. Read `gate.py` first.

gate.py           measures how far another precision differs, and admits it or not
bf16.py, fp16.py  half precision
quantize/         8-bit integers
"""
