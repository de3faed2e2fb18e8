"""The floor of the dashboard's page: `python -m benchmarks.plain_page PORT`.

At `/?bytes=N`: a page of N bytes in all that loads the same chart library by the same server and draws three
charts of constants: no style, no text, no data. At `/echo`: a page that shows events as they come and notes
how late each is. Their source is looked into as often as the coordinator looks into its store; nothing else
delays them. As the dashboard does, it stands back behind other processes.
"""

import gzip
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

import waitress
from flask import Flask, Response, request

from fedcohort.coordinator.streams import PAUSE_SECONDS
from fedcohort.dashboard.shared.serve import WATCHING_NICE

EVENT_SECONDS = 0.5
"""About a slow round."""
STEP = (math.sqrt(5) - 1) / 2
"""Of phases that fill an interval evenly (Weyl 1916)."""
HEAD = "<!doctype html><meta charset=utf-8><title>plain</title>"
CHARTS = """<script src="/library.js"></script>
<div id=a style="width:400px;height:300px"></div>
<div id=b style="width:400px;height:300px"></div>
<div id=c style="width:400px;height:300px"></div>
<script>
fetch('/padding?bytes=%d').then(answer => answer.arrayBuffer()).then(() => { window.padded = true; });
for (const place of document.querySelectorAll('div')) {
  echarts.init(place).setOption({ xAxis: { type: 'value' }, yAxis: { type: 'value' }, animation: false,
    series: [{ type: 'line', data: Array.from({ length: 30 }, (_, x) => [x, 1]) }] });
}
</script>"""
ECHO = """<p id=said></p>
<script>
window.late = [];
const said = document.querySelector('#said');
const now = () => (performance.timeOrigin + performance.now()) / 1000;
const note = () => window.late.push(now() - Number(said.textContent));
new MutationObserver(note).observe(said, { childList: true });
new EventSource('/events').onmessage = event => { said.textContent = JSON.parse(event.data).at; };
</script>"""


@cache
def library() -> bytes:
    """The chart library, packed as the dashboard packs it."""
    place = files("fedcohort.dashboard") / "static" / "vendor" / "echarts.common.min.js"
    return gzip.compress(place.read_bytes(), 9, mtime=0)


def events() -> Iterator[str]:
    """An event about twice a second, each at another time between two looks at its source."""
    for number in range(sys.maxsize):
        time.sleep(EVENT_SECONDS + PAUSE_SECONDS * (number * STEP % 1))
        at = time.time()
        time.sleep(PAUSE_SECONDS - time.monotonic() % PAUSE_SECONDS)
        yield f"data: {json.dumps({'at': at})}\n\n"


def make_app() -> Flask:
    """The pages."""
    app = Flask(__name__)

    @app.get("/")
    def charts() -> str:
        padding = max(0, request.args.get("bytes", 0, int) - len(library()) - len(HEAD) - len(CHARTS))
        return HEAD + CHARTS % padding

    @app.get("/library.js")
    def packed() -> Response:
        return Response(library(), mimetype="text/javascript", headers={"Content-Encoding": "gzip"})

    @app.get("/padding")
    def padding() -> Response:
        return Response(os.urandom(request.args.get("bytes", 0, int)), mimetype="application/octet-stream")

    @app.get("/echo")
    def echo() -> str:
        return HEAD + ECHO

    @app.get("/events")
    def stream() -> Response:
        return Response(events(), mimetype="text/event-stream")

    return app


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(WATCHING_NICE)
    waitress.serve(make_app(), host="127.0.0.1", port=int(sys.argv[1]), threads=8)
