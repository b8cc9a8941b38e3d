"""Archive: stores what is received, works on it and sends the results, whatever happens to the process.

Read archive.py first: open, receive, has, close.

receiving/       store an object, then acknowledge it
storage/         files and tables
jobs/            the durable queue and the work on studies, deliveries and commitments
views/           worklist and metrics, read-only
labels.py        labels of readers; label_export.py: the table and films for a site file
quarantine.py    objects that a person has to decide on
receipt.py       sender and outcome of a received object
rules.py         the rules; rules_file.py: their YAML file; matching.py: which objects a rule takes
peers.py         destinations and servers; callers.py: who may send; tls_files.py: TLS settings of a peer
destination.py   protocols of what sends and fetches; workitems.py: those of worklist managers
"""
