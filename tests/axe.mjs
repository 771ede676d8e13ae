// Prints what axe-core and the console say of a page; exit code 1 if anything. node axe.mjs FOLDER CHROMIUM PAGE
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [folder, executablePath, page] = process.argv.slice(2);
const require = createRequire(folder + "/");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args });
const faults = [];
for (const [width, colorScheme] of [[390, "dark"], [390, "light"], [1440, "dark"], [1440, "light"]]) {
  const tab = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
  tab.on("console", (message) => faults.push(`console: ${message.text()}`));
  tab.on("pageerror", (error) => faults.push(String(error)));
  tab.on("request", (request) => { if (!/^(file|data):/.test(request.url())) faults.push(request.url()); });
  await tab.goto("file://" + page);
  await tab.evaluate(() => { for (const each of document.querySelectorAll("details")) each.open = true; });
  const outcome = await tab.evaluate(axe + "; axe.run(document, { resultTypes: ['violations'] })");
  for (const each of outcome.violations) faults.push(`${each.impact} ${each.id}: ${each.nodes[0].html.slice(0, 200)}`);
  await tab.close();
}
await browser.close();
console.log(faults.join("\n"));
process.exit(faults.length ? 1 : 0);
