"""The DICOM upper layer without I/O: bytes in, events out (PS3.8, PS3.7)."""
