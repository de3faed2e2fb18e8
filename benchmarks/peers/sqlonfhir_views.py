"""sqlonfhir over NDJSON; prints processor seconds and the rows of each view as one line of JSON.

Run by the peer's interpreter: `sqlonfhir_views.py NDJSON VIEWS`. VIEWS is a JSON list of ViewDefinitions.
What is measured is parsing (the standard library's json) and each view over all resources of its type at
once, as the peer has it: resource by resource it would compile every path anew.
"""

import json
import sys
import time
from collections import defaultdict

from sqlonfhir import evaluate


def main() -> None:
    """Print seconds and counts."""
    with open(sys.argv[2], encoding="utf-8") as file:
        views = json.load(file)
    began = time.process_time()
    by_type = defaultdict(list)
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file:
            resource = json.loads(line)
            by_type[resource["resourceType"]].append(resource)
    rows = [len(evaluate(by_type[view["resource"]], view)) for view in views]
    print(json.dumps({"seconds": time.process_time() - began, "rows": rows}))


if __name__ == "__main__":
    main()
