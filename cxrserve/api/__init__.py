"""The HTTP service: routes, request handling, error responses. README.md describes the API for clients.

accept.py           content negotiation: the form of the answer that a client wants
about.py            routes about the service
access.py           access control
app.py              the FastAPI application
archived_images.py  routes that display and predict an image of the archive
audit.py            records each HTTP request to patient data in the audit trail
compression.py      gzip for response bodies
connections.py      limits of open connections
dicom_response.py   builds the DICOM form of a prediction
dicomweb.py         STOW-RS
disconnect.py       cancels a request's work when its client disconnects
docs.py             routes of the page that shows the OpenAPI document
fhir_response.py    builds the FHIR form of a prediction
handshakes.py       TLS handshakes that fail, logged and recorded
kept_uploads.py     files that were received for display and are held for a minute
labels.py           routes of readers' labels
lingering.py        A transport with a lingering close
login.py            routes of the viewer's sign-in
middleware.py       ASGI middleware around every request
openapi.py          additions to FastAPI's OpenAPI document
paced_response.py   responses that the client must read at a minimum pace
picture_response.py builds the PNG form of a prediction
predict.py          POST /predict and POST /predict/study
predict_request.py  runs one prediction request
problems.py         error handlers
protocol.py         uvicorn's HTTP/1.1 protocol with time limits, so that no slow client can hold a connection
quarantine.py       routes of the quarantine
refusals.py         counts the refused tokens of each address
request_log.py      the log record of a request, without patient data, file names, or the path as it was sent
server.py           runs the application in one uvicorn process
service.py          the service behind the routes
stow.py             the Store Instances Response of STOW-RS
strict_http.py      an h11 connection that also refuses requests which h11 alone would accept
studies.py          routes of the worklist
transfers.py        places and memory for bodies on their way in or out
triage.py           POST /triage
watch.py            GET /watch
upload.py           receives the files of a request into memory, within limits of size and time
viewer.py           routes of the viewer
"""
