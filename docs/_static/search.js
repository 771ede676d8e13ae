// Ranks sections by the words of a question, in place of Sphinx's list of pages: by BM25 (rare words count more, so do titles
// and short sections), and by kind: what teaches stands before what is looked up. `SECTIONS` are page, title, anchor,
// text, and the words under which a section is looked for beside: docs/_ext/evsim_search.py.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined" || typeof SECTIONS === "undefined") return;
  const TEXT = 1, PAGE = 2, TITLE = 4, WORDS = 6; // what a word counts, by where it stands
  const LENGTH = 0.6, REPEATS = 1.2, SHOWN = 25, AROUND = 90;
  const WHOLE = 1.5; // all that is asked is the name of an entry
  const KINDS = [
    [/^howto\/(?!index)|^quickstart/, 1.5],
    [/^tutorials\/(?!index)/, 1.3],
    [/^glossary/, 1.5],
    [/^reference\/python/, 0.6],
    [/^reference\/|^notebooks\//, 0.8],
    [/^(architecture|writing|contributing)/, 0.5],
  ];
  const ASKED = /^(what|who)('s)?\b|\b(meaning|definition)\b/i; // asks for a word: the glossary answers
  const QUESTION = new Set(
    "what which who how why when where does do did can could should would i my me you your we our am have has get it's"
      .split(" "),
  );
  const ONE = [[/\bdata[ -]sets?\b/g, "dataset"], [/\btime[ -]steps?\b/g, "timestep"], [/\bcheck[ -]points?\b/g, "checkpoint"]];

  const stemmer = new Stemmer();
  const stems = new Map();
  const british = (word) => word.replace(/is(e[ds]?|ing|ations?)$/, "iz$1");
  const stem = (word) => stems.get(word) ?? stems.set(word, stemmer.stemWord(british(word))).get(word);
  const joined = (text) => ONE.reduce((whole, [apart, one]) => whole.replace(apart, one), text.toLowerCase());
  const words = (text) => splitQuery(joined(text)).map(stem);
  const kind = (page) => KINDS.find(([pattern]) => pattern.test(page))?.[1] ?? 1;

  let index = null;
  const build = () => {
    const holders = new Map();
    const names = [];
    const sizes = SECTIONS.map(([page, title, , text, also], number) => {
      const counts = new Map();
      const add = (told, weight) => words(told).forEach((word) => counts.set(word, (counts.get(word) ?? 0) + weight));
      const own = title.split(" > ").pop();
      add(text, TEXT);
      add(own, TITLE);
      if (own !== title) add(title.slice(0, -own.length), PAGE);
      add(also, WORDS);
      const asked = also.split(", ").map((question) => [...termsOf(question)].join(" "));
      names.push(new Set([words(own).join(" "), ...asked]));
      counts.forEach((count, word) => {
        if (!holders.has(word)) holders.set(word, new Map());
        holders.get(word).set(number, count);
      });
      return splitQuery(text).length + 1;
    });
    return { holders, names, sizes, mean: sizes.reduce((a, b) => a + b, 0) / sizes.length };
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

  const termsOf = (query) => {
    const all = splitQuery(joined(query)).filter((word) => !stopwords.has(word));
    const told = all.filter((word) => !QUESTION.has(word));
    return new Set((told.length ? told : all).map(stem));
  };

  const ranked = (query) => {
    index ??= build();
    const terms = termsOf(query);
    const whole = [...terms].join(" ");
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
    const results = [...scores].map(([number, score]) => {
      const [page, title, anchor, text] = SECTIONS[number];
      const named = index.names[number].has(whole) ? WHOLE : 1;
      const asked = ASKED.test(query) && page === "glossary" ? WHOLE : 1;
      const worth = score * (matches.get(number) / terms.size) ** 2 * kind(page) * named * asked;
      return [page, title, anchor, excerpt(text, terms), worth, `${page}.md`, SearchResultKind.text];
    });
    return results.sort((a, b) => b[4] - a[4]);
  };

  // Sphinx shows the last of the list first, and tells how many it shows
  let total = 0;
  Search._performSearch = (query) => {
    document.getElementById("search-progress")?.replaceChildren();
    const all = ranked(query);
    total = all.length;
    return all.slice(0, SHOWN).reverse();
  };
  Documentation.ngettext = () => {
    if (total > SHOWN) return `The first ${SHOWN} of ${total} places, the best first.`;
    return total === 1 ? "One place." : `${total} places, the best first.`;
  };
});
