// Opens a report's page in headless Chromium, offline, at the screen sizes of a phone and a desktop.
//
// usage: node report.mjs CHROMIUM PAGE.html
// Uses the DevTools protocol over pipes, so it needs no package.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [chromium, page] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), "report-"));
const flags = [
  "--headless=new",
  // Containers offer no sandbox; the page is trusted.
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--remote-debugging-pipe",
  `--user-data-dir=${profile}`,
  "about:blank",
];
const browser = spawn(chromium, flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const timeout = setTimeout(() => fail("Chromium did not answer within 60 s"), 60_000);

function fail(what) {
  console.error(`report page: ${what}`);
  end(1);
}

function end(code) {
  clearTimeout(timeout);
  browser.on("exit", () => {
    rmSync(profile, { recursive: true, force: true });
    process.exit(code);
  });
  browser.kill("SIGKILL");
}

const waiting = new Map();
const listeners = [];
let lastId = 0;
let buffered = "";
browser.stdio[4].on("data", (data) => {
  const messages = (buffered + data).split("\0");
  buffered = messages.pop();
  for (const message of messages.map((text) => JSON.parse(text))) {
    if (message.id === undefined) {
      for (const listener of listeners) listener(message);
      continue;
    }
    const { resolve, reject } = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error) reject(new Error(message.error.message));
    else resolve(message.result);
  }
});

function call(method, params = {}, sessionId) {
  const id = ++lastId;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    browser.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
  });
}

// Measures the page as laid out by the browser.
function inspect() {
  const box = (element) => element.getBoundingClientRect();
  const plots = [...document.querySelectorAll("svg")].map((svg) => ({
    label: svg.getAttribute("aria-label"),
    width: box(svg).width,
    height: box(svg).height,
    // Visible lines with a colour.
    lines: [...svg.querySelectorAll("path.line")].filter(
      (path) => path.getTotalLength() > 10 && getComputedStyle(path).stroke !== "none",
    ).length,
    textPixels: Math.min(
      ...[...svg.querySelectorAll("text")].map(
        (text) => (parseFloat(getComputedStyle(text).fontSize) * box(svg).width) / svg.viewBox.baseVal.width,
      ),
    ),
  }));
  return {
    plots,
    scripts: document.scripts.length,
    tooWide: [...document.querySelectorAll("body *")]
      .filter((element) => box(element).right > innerWidth + 1)
      .map((element) => element.outerHTML.slice(0, 80)),
    scrollWidth: document.documentElement.scrollWidth,
    width: innerWidth,
    verdict: document.querySelector("#verdict")?.textContent,
    tables: document.querySelectorAll("table").length,
  };
}

async function check(session, name, width, height, mobile) {
  await call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 2, mobile }, session);
  const loaded = new Promise((resolve) => {
    listeners.push((message) => message.method === "Page.loadEventFired" && resolve());
  });
  await call("Page.navigate", { url: pathToFileURL(resolve(page)).href }, session);
  await loaded;
  const { result, exceptionDetails } = await call(
    "Runtime.evaluate",
    { expression: `(${inspect})()`, returnByValue: true },
    session,
  );
  if (exceptionDetails) throw new Error(exceptionDetails.exception.description);
  const found = result.value;
  const problems = [];
  const expect = (holds, what) => holds || problems.push(what);
  expect(found.width === width, `the page is ${found.width} wide on a screen of ${width}`);
  expect(found.scrollWidth <= width, `it scrolls horizontally: ${found.scrollWidth} of ${width}`);
  expect(found.tooWide.length === 0, `too wide: ${found.tooWide}`);
  expect(found.plots.length >= 3, `${found.plots.length} plots`);
  for (const plot of found.plots) {
    expect(plot.lines > 0, `"${plot.label}" has no line`);
    expect(plot.width > 280 && plot.height > 150, `"${plot.label}" is ${plot.width} by ${plot.height}`);
    expect(plot.textPixels >= 9, `"${plot.label}" has text of ${plot.textPixels.toFixed(1)} pixels`);
  }
  expect(found.scripts === 0, `${found.scripts} scripts`);
  expect(found.tables >= 3, `${found.tables} tables`);
  expect(found.verdict?.trim(), "no verdict");
  for (const problem of problems) console.error(`${name}: ${problem}`);
  console.log(`${name}, ${width} wide: ${found.plots.length} plots, ${problems.length} problems`);
  return problems.length;
}

try {
  const { targetInfos } = await call("Target.getTargets");
  const { targetId } = targetInfos.find((target) => target.type === "page");
  const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
  const troubles = [];
  listeners.push(({ method, params }) => {
    if (method === "Runtime.exceptionThrown") troubles.push(`exception: ${params.exceptionDetails.text}`);
    if (method === "Log.entryAdded" && params.entry.level === "error") troubles.push(params.entry.text);
    if (method === "Network.requestWillBeSent" && !params.request.url.startsWith("file:")) {
      troubles.push(`fetched ${params.request.url}`);
    }
  });
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await call(`${domain}.enable`, {}, sessionId);
  const offline = { offline: true, latency: 0, downloadThroughput: -1, uploadThroughput: -1 };
  await call("Network.emulateNetworkConditions", offline, sessionId);
  let problems = await check(sessionId, "phone", 360, 740, true);
  problems += await check(sessionId, "desktop", 1280, 900, false);
  for (const trouble of troubles) console.error(trouble);
  end(problems + troubles.length > 0 ? 1 : 0);
} catch (error) {
  fail(error.stack);
}
