"""Reports: a prediction as JSON, as pictures, as a table, as FHIR and as DICOM objects.

notices.py   the research-use notices that every report carries
answer.py    the JSON answer of POST /predict and of `cxrserve predict`
triage.py    the JSON answer of POST /triage, and its table
conclusion.py  the conclusion of a study in words
study.py     the study rule: maximum or mean over images
labels.py    labels of readers, as requests and answers
pictures.py  heatmaps and overlays as pictures
columns.py   columns of the findings in tables
ranking.py   the AUC of scores, and its interval
table.py     answers as a table for a terminal, and as CSV
fhir.py      a study's result as a FHIR R4 DiagnosticReport
fhir_push.py  ... and as it is sent to a FHIR server
hl7.py       ... as an HL7 v2 message
progress.py  the progress bar of the command line
dicom/       results as DICOM objects for the study of a radiograph
"""
