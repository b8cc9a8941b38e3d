"""Bytes to Radiograph to Pyramid: the only place that knows file formats and resizes images.

capture_stderr.py   what C libraries write to standard error
codestream.py       what a compressed stream says about itself
content.py          is there anything like a radiograph in these pixels?
correction.py       corrections of a film that lies turned or is stored inverted
dicom/              DICOM
display.py          from bytes to what a screen needs
display_header.py   display data of one radiograph
exif.py             the orientation in a JPEG's Exif segment, and nothing else of it (Exif 2.32, TIFF 6.0)
foreign_errors.py   translates the exceptions of the libraries that read files into errors of ours
grey_summary.py     a few numbers on the stored grey values, for the watch
grey.py             colour that is grey underneath, to one channel
ipc.py              messages between the service and its decode workers
jobs.py             what a decode worker can be asked to do
jpeg.py             JPEG
limits.py           limits on what an image may declare, checked before anything of that size is allocated
png.py              PNG
prepare.py          preprocessing
prepared.py         the result of preprocessing
profiles.py         profiles
pyramid.py          the pyramid
radiograph.py       A Radiograph
sandbox.py          linux sandbox of a decode worker
sniff.py            what a file is, decided by its first bytes
types.py            names of what can be done to an image
worker.py           A decode worker
worker_process.py   one decode worker as the service sees it
worker_response.py  A worker's answer, checked value by value before the service believes it
workers.py          the pool of decode workers
appearance.py       doubts about a picture that need no network
orientation.py      the eight orientations of a picture, numbered as in Exif
"""
