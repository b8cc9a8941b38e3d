"""The watch: compares films with a fixed reference, and reports what changed, since when and where.

detectors.py  Shiryaev–Roberts e-detectors with a bounded time to a false alarm
group.py      the films of one station and view
reference.py  the films that later ones are compared with, as a few ordered values
report.py     the state as numbers and in words
store.py      the file: SQLite
streams.py    the numbers that are watched
watch.py      the watch of one process
"""
