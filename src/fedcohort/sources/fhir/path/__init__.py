"""FHIRPath, as far as views of SQL-on-FHIR use it."""
