"""Durable jobs: work that survives the end of the process. Read `scheduler.py` first, then `queue.py`.

scheduler.py      makes jobs of quiet studies and starts jobs that are due; alarm.py: wakes it
queue.py          the table of jobs: claim, end, take over; retries.py: pauses between tries
workers.py        threads that run jobs and write down how they ended
study_job.py      images, report and deliveries of a study; read_image.py: one image; report_inputs.py
send_jobs.py      deliveries, and reports of Storage Commitment
reconciliation_job.py   asks the PACS whose a study is; prior_job.py: fetches a patient's earlier studies
workitem_job.py   performs a workitem of a worklist manager; workitem_offers.py: new ones; study_outcome.py
job_store.py      inspect, retry and purge jobs, including dead letters
upgrade.py        takes over what earlier versions left in the folder
"""
