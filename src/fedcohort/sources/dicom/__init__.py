"""DICOM images: read, checked, de-identified, received."""
