"""The DICOM node and DICOMweb clients: radiographs in from the PACS, results back into the same study.

node.py                   the node: Verification, Storage and Storage Commitment SCP
association_server.py     its listening socket: TLS, limits, starts associations
connection.py             the socket of one association, with limits on every PDU
incoming_datasets.py      C-STORE data sets, written to disk as they arrive
presentation_contexts.py  the presentation contexts that the node accepts
rejections.py             rejected associations, logged and counted
storage.py                C-STORE SCP
commitment.py             Storage Commitment SCP
tls.py                    TLS contexts
client.py                 outgoing associations
destinations.py           C-STORE SCU, and a client for each destination
hl7_destination.py        HL7 v2 over MLLP; fhir_destination.py: FHIR reports
transcoding.py            objects in the form that a peer accepts
web.py                    STOW-RS client
http_limits.py            limits on the time and the answer of an HTTP exchange
patient_query.py          C-FIND and QIDO-RS for the patient of a study
priors.py                 a patient's earlier studies by QIDO-RS and WADO-RS; moved_priors.py: by C-MOVE
prior_studies.py          choice of such studies among the answers
query_retrieve.py         C-FIND and C-MOVE
pull.py                   QIDO-RS and WADO-RS client
worklist_manager.py       UPS-RS client; worklist_schedule.py: searches at intervals
workitem_dataset.py       data sets of workitems
web_source.py             a DICOMweb server as the source of an archive
echo.py                   connection check of a peer
station_client.py         HTTP client of a running station
"""
