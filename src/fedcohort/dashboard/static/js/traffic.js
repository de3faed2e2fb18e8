// How many bytes of the study's rounds each site was sent, and sent.

import { byId, element } from "./dom.js";
import { bytes, t } from "./texts.js";

/** Show the sites' bytes; those of most bytes first. */
export function showTraffic(sites) {
  const known = sites.filter((site) => site.bytes_to > 0 || site.bytes_from > 0);
  byId("traffic-card").hidden = known.length === 0;
  const both = (site) => site.bytes_to + site.bytes_from;
  const most = Math.max(1, ...known.map((site) => Math.max(site.bytes_to, site.bytes_from)));
  const rows = known.sort((a, b) => both(b) - both(a)).map((site) => row(site, most));
  byId("traffic").tBodies[0].replaceChildren(...rows);
}

function row(site, most) {
  const cell = (amount, way) =>
    element("td", {
      children: [
        element("meter", { attributes: { min: 0, max: most, value: amount, "aria-label": t(`traffic.${way}`) } }),
        element("span", { text: bytes(amount), attributes: { class: "amount" } }),
      ],
    });
  return element("tr", {
    children: [
      element("th", { text: site.id, attributes: { scope: "row" } }),
      cell(site.bytes_to, "to"),
      cell(site.bytes_from, "from"),
    ],
  });
}
