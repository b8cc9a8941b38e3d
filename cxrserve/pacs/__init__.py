"""The DICOM node and DICOMweb client: radiographs in from the PACS, results back into the same study."""
