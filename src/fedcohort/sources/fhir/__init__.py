"""FHIR R4: bundles, NDJSON and servers, read through SQL-on-FHIR views as changes of event tables."""
