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

/** Of the mean or the deviation of a described column whose histogram has the declared range. */
export function isDescribed(column, name) {
  const [low, high, range] = [column[`${name}_low`], column[`${name}_high`], column.histogram];
  if (typeof low !== "number" || typeof high !== "number" || typeof range?.error !== "number") return true;
  const possible = (range.high - range.low) / (name === "std" ? 2 : 1);
  return high - low <= MOST * possible * (1 + 1e-9);
}
