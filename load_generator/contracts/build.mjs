// Compiles every contract of this folder with the pinned solc into artefacts/NAME.json: ABI, init code, compiler, settings.
//
//   npm ci && node build.mjs            writes the artefacts
//   npm ci && node build.mjs --check    fails if an artefact differs from the output of the compiler
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));
const artefacts = join(here, "artefacts");
const check = process.argv.includes("--check");

const settings = {
  // Old enough for every current node; the contracts need nothing newer.
  evmVersion: "paris",
  optimizer: { enabled: true, runs: 200 },
  // Without a metadata hash, comments do not change the code.
  metadata: { appendCBOR: false, bytecodeHash: "none" },
};

const files = readdirSync(here).filter((name) => name.endsWith(".sol")).sort();
const sources = Object.fromEntries(files.map((name) => [name, { content: readFileSync(join(here, name), "utf8") }]));
const outputSelection = { "*": { "*": ["abi", "evm.bytecode.object"] } };
const input = { language: "Solidity", sources, settings: { ...settings, outputSelection } };
const output = JSON.parse(solc.compile(JSON.stringify(input)));

const messages = output.errors ?? [];
for (const message of messages) console.error(message.formattedMessage);
if (messages.length > 0) {
  console.error("the contracts must compile without errors and warnings");
  process.exit(1);
}

let stale = 0;
for (const file of files) {
  const name = file.replace(/\.sol$/, "");
  const { abi, evm } = output.contracts[file][name];
  const artefact = {
    contractName: name,
    sourceName: file,
    compiler: solc.version(),
    settings,
    abi,
    bytecode: `0x${evm.bytecode.object}`,
  };
  const text = `${JSON.stringify(artefact, null, 2)}\n`;
  const path = join(artefacts, `${name}.json`);
  if (!check) {
    writeFileSync(path, text);
    continue;
  }
  let committed = "";
  try {
    committed = readFileSync(path, "utf8");
  } catch {
    console.error(`${path} is missing`);
  }
  if (committed !== text) {
    console.error(`${name}.json is not what ${file} compiles to; run node build.mjs`);
    stale += 1;
  }
}
const known = new Set(files.map((name) => name.replace(/\.sol$/, ".json")));
for (const name of readdirSync(artefacts).filter((name) => !known.has(name))) {
  console.error(`artefacts/${name} has no source`);
  stale += 1;
}
if (stale > 0) process.exit(1);
console.log(`${files.length} contracts, ${solc.version()}${check ? ", all artefacts match their sources" : ""}`);
