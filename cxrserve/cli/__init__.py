"""The command line. Read `main.py` first.

main.py           the commands
predict.py        many files, one answer each
bulk.py           a whole archive of images, in parts
image_files.py    the files that it analyses
outcomes.py       the outcome of each file
labelled_films.py labels beside the films, and the AUC
open_sheets.py    opens the overlay sheets
writers.py        writers of the answers
output.py         the file for the answers
bundle_summary.py a bundle in a few lines
pacs.py, queue.py the station's commands
quarantine.py     studies that are held back
site.py           the site file of a hospital
site_films.py     the films that it is made from
site_labels.py    the labels that readers gave in the viewer
doctor.py         a report about this machine
options.py        options that several commands share
"""
