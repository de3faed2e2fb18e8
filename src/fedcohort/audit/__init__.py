"""The tamper-evident event log: its hash chain, and the newest hash (head) of each site's."""
