"""The archive: what was received is kept, worked on and sent on, whatever happens to the process.

archive.py       all of it behind one door: open, receive, has, close
receipt.py       who sent an object, and what became of it
rules.py         the YAML file: what is worked on, where results go; callers.py: who may send
intake.py        keep, then acknowledge; room.py: how much more may be kept
committer.py     the thread that commits; entry.py: what the index says of an object
incoming.py      an object on its way to disk; parsed.py: what is known of it before it is kept
store.py         the files: durable, named by their content, checked when read
index.py         the tables: what there is, and what is still to be done
home.py          which folder a shared database belongs to
planner.py       what is undone becomes tries of jobs; retries.py: when failed ones are due again
work.py          durable workflows on DBOS, the only file that knows it
study.py         what is done with a study; reader.py: with an image; material.py: what a report is made of
destination.py   where results go
catalogue.py     what is held, for those who look; search.py: in any case and script
letters.py       jobs that wait, dead letters, quarantine
gauges.py        the same as figures for Prometheus
retention.py     images are deleted when their time is over
"""
