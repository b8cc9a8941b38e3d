"""Receiving objects: write, check, commit, then acknowledge. Read `intake.py` first.

intake.py          receives one object and decides its outcome
incoming_file.py   file of an object that is being received
parse.py           header of a received object; records.py: its rows in the database
expected_priors.py images that a PACS was asked to send here as priors
same_image.py      compares two objects with one UID
corrections.py     a study under another patient or order; decisions.py: those of a person
group_commit.py    one transaction for all objects that wait; quota.py: limits of disk and archive
"""
