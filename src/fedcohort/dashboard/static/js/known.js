// Whether a figure is known at all, as fedcohort/known.py says it: an interval over most of what is possible leaves it unknown.

const SHARES = new Set(["accuracy", "auc"]);
const MOST = 0.5;
const FACTOR = 4;

/** Of a metric with the ends of its interval, null or undefined where it has none. */
export function isKnown(metric, low, high) {
  if (typeof low !== "number" || typeof high !== "number") return true;
  if (SHARES.has(metric)) return high - low <= MOST * (1 + 1e-9);
  return metric === "r2" || high <= FACTOR * low;
}
