"""OMOP's common data model (https://ohdsi.github.io/CommonDataModel), read in place and never copied."""
