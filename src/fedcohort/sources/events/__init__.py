"""Event tables: what happened to patients and when, as HL7 v2, FHIR and warehouses tell of it."""
