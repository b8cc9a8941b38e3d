"""cxrserve: one chest X-ray in, 14 probabilities and the pictures that explain them out.

Research software, not a medical device.

__main__.py      `python -m cxrserve`
allocator.py     the C library's allocator
api/             the HTTP service
archive/         the archive
bench/           load tests of a running service
bulk/            bulk prediction into Parquet files
bundle/          the model bundle
cli/             the command line
client.py        a typed client of the HTTP API
cores.py         number of cores this process may use, by CPU affinity and the container's quota
dicom_status.py  status codes of the DIMSE services and of STOW-RS, by their names in the standard
engines/         inference engines, one small file for each, behind one interface
ensemble/        the ensemble
errors.py        the error tree
file_changes.py  changes of files that are read at start and replaced while the service runs
files.py         durable files
film_check/      the film check
findings.py      the 14 findings of CheXpert and MIMIC-CXR, in the one order of every array in this project
identity/        identity of HTTP clients
imaging/         decoding and preparation of radiographs
loopback.py      loopback addresses
metrics.py       Prometheus metrics
multipart.py     multipart bodies
pacs/            the DICOM node and DICOMweb clients
pipeline/        from the bytes of a file to its prediction
reports/         predictions as JSON, pictures, FHIR and DICOM objects
scheduling/      admission and queueing of images in front of the engines
schema.py        base models for the pydantic models of this package
server_tls.py    TLS of a port that listens
settings.py      settings of the service, read once at start from CXRSERVE_* and flags
station.py       the station
warnings.py      the warnings that an answer can carry
audit/           the audit trail
site/            the site file
watch/           the watch
"""

__version__ = "0.1.0"
