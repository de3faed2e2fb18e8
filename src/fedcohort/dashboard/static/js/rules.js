// What the hospitals' own rules (their site.toml) leave of the form, for one table.

/**
 * What some of the hospitals take, of those that offer `table`; `rules` is what each tells, or null.
 * Returns predicates for choices, bounds for numbers, and words that a study needs beside the form's.
 */
export function limitsOf(rules, table) {
  const told = rules.filter(Boolean);
  const silent = told.length < rules.length || rules.length === 0;
  const some = (takes) => silent || told.some(takes);
  const allows = (key) => (name) => some((rule) => rule[key]?.includes(name) ?? true);
  const numbers = (key) => told.map((rule) => rule[key]).filter(Number.isFinite);
  const budgets = told.map((rule) => rule.budgets?.[table]).filter(Boolean);
  const most = (values) => (values.length > 0 ? Math.max(...values) : null);
  const least = (values) => (values.length > 0 ? Math.min(...values) : null);
  return {
    protection: allows("protections"),
    analysis: allows("analyses"),
    model: (name, isPrivate) => some((rule) => (rule.models?.includes(name) ?? true) && (!isPrivate || (rule.private_models?.includes(name) ?? true))),
    privacyRequired: !silent && told.every((rule) => rule.privacy_required || rule.budgets?.[table]),
    numbers: {
      min_sites: { min: most([1, ...numbers("min_sites")]), max: null },
      rounds: { min: 1, max: silent ? null : Math.max(1, most(numbers("max_rounds").map((rounds) => rounds - MEASURING))) },
      epsilon: { min: null, max: silent || budgets.length < told.length ? null : most(budgets.map((budget) => budget.epsilon)) },
      delta: { min: null, max: least([...numbers("max_delta"), ...budgets.map((budget) => budget.delta)]) },
    },
    words: {
      colluders: most(numbers("min_colluders").filter((count) => count > 1)),
      sites_per_patient: most(numbers("sites_per_patient").filter((count) => count > 1)),
      patient_id: same(told.map((rule) => rule.patients?.[table])),
    },
  };
}

/** Exchanges of a training beside its rounds, which a hospital counts too. */
const MEASURING = 3;

const same = (names) => (names.length > 0 && names.every((name) => name && name === names[0]) ? names[0] : null);
