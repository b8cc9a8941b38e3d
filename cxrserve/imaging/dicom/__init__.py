"""DICOM: bytes to a Radiograph with its stored values untouched.

read.py          the steps below, one after another
dataset.py       bytes -> elements, whatever syntax they are written in
acceptance.py    is this a chest radiograph, made to be looked at? (body_part.py: what part does it name?)
header.py        rows, columns, bits: sane, and within the limits?
pixels.py        Pixel Data -> stored values (codecs.py: one function for each compression)
presentation.py  how the file wants its image to be shown
luts.py          look-up tables of the header
source_header.py the small header that results need (cleaning.py: only well-formed values)
identity.py      the UIDs alone (file_prefix.py: while the file is still being received)
walk.py           walks over the elements of a data set without building them
body_part_words.py  words for parts of the body in languages and scripts beyond those of DICOM's own terms
greyscale.py        the greyscale of a DICOM header
polarity.py         the polarity of a DICOM image
sample_bits.py      the bits of a sample
"""
