"""A live FHIR server read into an inbox, a folder of the hospital's own, which an import reads then."""
