// Numbers and sentences.

export const count = (number) => number.toLocaleString("en");

// Never 0 % or 100 % for what is not quite.
export function percent(share) {
  const rounded = Math.round(share * 100);
  if (rounded === 0 && share > 0) return "<1\u00a0%";
  if (rounded === 100 && share < 1) return ">99\u00a0%";
  return `${rounded}\u00a0%`;
}

// For small parts of a whole, where the first decimal counts.
export function finePercent(share) {
  if (share >= 0.1 || share === 0) return percent(share);
  return share < 0.0005 ? "<0.1\u00a0%" : `${(share * 100).toFixed(1)}\u00a0%`;
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export function time(iso) {
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? iso : at.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

export function confidence(explanation) {
  if (explanation.decided_by_user) {
    return "A person said so of this text, or of one nearly identical. The 100\u00a0% is a rule, not an estimate.";
  }
  const p = explanation.probability;
  const sure = p >= 0.9 ? "Sure" : p >= 0.7 ? "Fairly sure" : p >= 0.5 ? "Unsure" : "Very unsure";
  const right = Math.min(Math.round(p * 100), 99);
  return `${sure}: of 100 answers with this probability, about ${right} should be right.`;
}

const FAR = 0.05; // from this share of the development texts on, a text counts as far

// {text, far}: how near the text is to the knowledge, and whether to worry.
export function nearness({ similarity, similarity_quantile: quantile }, model) {
  const said = (text, far = false) => ({ text, far });
  if (!model.has_store) return said("This model has no knowledge to compare the text with.");
  if (similarity === null) return said("The knowledge store is empty: nothing to compare the text with.");
  if (quantile === null) {
    const nearest = `The nearest entry has similarity ${similarity.toFixed(2)}`;
    return said(`${nearest}; this model keeps no record to judge that by.`);
  }
  const share = (value) => `${value === 1 ? "all" : percent(value)} of the development texts`;
  if (quantile > FAR) return said(`At least as near to what it knows as ${share(quantile)}.`);
  return said(`Farther from anything it knows than ${share(1 - quantile)}: may be out of scope.`, true);
}

export const ORIGINS = {
  gold: "labelled by hand",
  generated: "written by the LLM",
  unlabelled: "labelled by the LLM",
  user: "added by a person",
};

// Ids as the service gives them: [first, last] of each run.
export const ids = (runs) => runs.map(([first, last]) => (first === last ? first : `${first}–${last}`)).join(", ");
