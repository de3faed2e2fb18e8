"""HL7 v2 messages of a hospital's interface engine: framed, read, received, and turned into events."""
