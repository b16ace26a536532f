"""fleet: a declarative fleet manager for the DICOM Application Entities of hospitals."""
