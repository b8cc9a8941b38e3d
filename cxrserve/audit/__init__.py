"""The audit trail: who did what to which patient's data, from which address, with which outcome.

dicom_message.py  the audit message of DICOM PS3.15 A.5, as XML
event.py          one audited event
json_file.py      the sink that writes JSON lines
spool.py          the folder that keeps messages until the syslog server has taken them
syslog.py         the sink that sends syslog messages over TLS
trail.py          the process-wide trail and its sinks
"""
