"""The station: the HTTP service, the DICOM node and the durable work behind both, in one process."""
