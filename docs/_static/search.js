// Ranks sections by the words of a question (BM25: rare words count more, so do titles and short sections), and puts them in
// place of Sphinx's list of pages. `SECTIONS` are page, title, anchor and text, see docs/_ext/evsim_search.py.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined" || typeof SECTIONS === "undefined") return;
  const TITLE = 4, LENGTH = 0.6, REPEATS = 1.2, SHOWN = 25, AROUND = 90;
  const stemmer = new Stemmer();
  const stems = new Map();
  const stem = (word) => stems.get(word) ?? stems.set(word, stemmer.stemWord(word)).get(word);
  const words = (text) => splitQuery(text.toLowerCase()).map(stem);

  let index = null;
  const build = () => {
    const holders = new Map();
    const sizes = SECTIONS.map(([, title, , text], number) => {
      const counts = new Map();
      const add = (word, weight) => counts.set(word, (counts.get(word) ?? 0) + weight);
      const told = words(text);
      told.forEach((word) => add(word, 1));
      words(title).forEach((word) => add(word, TITLE));
      counts.forEach((count, word) => {
        if (!holders.has(word)) holders.set(word, new Map());
        holders.get(word).set(number, count);
      });
      return told.length + 1;
    });
    return { holders, sizes, mean: sizes.reduce((a, b) => a + b, 0) / sizes.length };
  };

  // where a word is no word of the site, those that begin with it
  const holdersOf = (word) => {
    const exact = index.holders.get(word);
    if (exact || word.length < 3) return exact ?? new Map();
    const all = new Map();
    index.holders.forEach((found, other) => {
      if (other.startsWith(word)) found.forEach((count, number) => all.set(number, (all.get(number) ?? 0) + count));
    });
    return all;
  };

  const excerpt = (text, terms) => {
    const lower = text.toLowerCase();
    const places = [...terms].map((term) => lower.search(new RegExp(`\\b${term.replace(/[^\w]/g, ".")}`)));
    const first = Math.min(...places.filter((place) => place >= 0));
    const begin = Number.isFinite(first) ? Math.max(0, first - AROUND) : 0;
    const part = text.slice(begin, begin + 2.5 * AROUND);
    return `${begin ? "… " : ""}${part.trim()}${begin + 2.5 * AROUND < text.length ? " …" : ""}`;
  };

  Search.performTermsSearch = (terms, excluded) => {
    index ??= build();
    const scores = new Map();
    const matches = new Map();
    terms.forEach((word) => {
      const found = holdersOf(word);
      const worth = Math.log(1 + (SECTIONS.length - found.size + 0.5) / (found.size + 0.5));
      found.forEach((count, number) => {
        const long = 1 - LENGTH + (LENGTH * index.sizes[number]) / index.mean;
        scores.set(number, (scores.get(number) ?? 0) + (worth * count * (REPEATS + 1)) / (count + REPEATS * long));
        matches.set(number, (matches.get(number) ?? 0) + 1);
      });
    });
    excluded.forEach((word) => holdersOf(stem(word)).forEach((_, number) => scores.delete(number)));
    return [...scores]
      .map(([number, score]) => [number, score * (matches.get(number) / terms.size) ** 2])
      .sort((a, b) => b[1] - a[1])
      .slice(0, SHOWN)
      .map(([number, score]) => {
        const [page, title, anchor, text] = SECTIONS[number];
        return [page, title, anchor, excerpt(text, terms), score, `${page}.md`, SearchResultKind.text];
      });
  };
});
