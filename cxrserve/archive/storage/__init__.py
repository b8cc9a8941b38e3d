"""Files and tables of the archive. Read `files.py` and `tables.py` first.

files.py          durable files, named by their content, checked when read
tables.py         the tables, and a typed row for each; migrations.py: from older versions
database.py       connections to SQLite or PostgreSQL
identity.py       ties a shared database to its archive folder
retention.py      deletes images after their retention time; retention_clock.py: the time it counts with
text_search.py    search in any case and script
"""
