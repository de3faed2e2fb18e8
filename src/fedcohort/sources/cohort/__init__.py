"""From a study's cohort to a Table: rows selected, read and ordered in the same way for every engine."""
