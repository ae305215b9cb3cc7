// Compiles the contracts. build.sh installs the compiler and calls this.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));
const check = process.argv.includes("--check");

// Contracts with an artifact: the source, and where the artifact is.
const contracts = {
  Validators: ["src/Validators.sol", "Validators.json"],
  Staking: ["src/Staking.sol", "Staking.json"],
  Harness: ["test/Harness.sol", "test/Harness.json"],
};

// What nodes and light clients read without running code. It must never change.
const layout = [
  "0 0 owner address",
  "1 0 pendingOwner address",
  "2 0 changes uint256",
  "3 0 network bytes32",
  "4 0 keys bytes32[]",
  "5 0 members mapping(bytes32 => struct Validators.Member)",
  "6 0 barred mapping(bytes32 => bool)",
];
const memberLayout = ["0 0 account address", "0 20 port uint16", "0 22 position uint32", "1 0 ip bytes16"];

const settings = {
  evmVersion: "cancun",
  // The newer code generator makes more code of the libraries than a contract may have.
  viaIR: false,
  // 200 runs cost 6 % more gas; 100,000 save 1.5 % and need 3 kB more.
  optimizer: { enabled: true, runs: 1000 },
  // Without a metadata hash, comments do not change the code.
  metadata: { appendCBOR: false, bytecodeHash: "none" },
};

const files = ["src", "test"].flatMap((folder) =>
  readdirSync(join(here, folder))
    .filter((name) => name.endsWith(".sol"))
    .map((name) => `${folder}/${name}`),
);
const sources = Object.fromEntries(files.map((name) => [name, { content: readFileSync(join(here, name), "utf8") }]));
const outputSelection = {
  "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"] },
};
const input = { language: "Solidity", sources, settings: { ...settings, outputSelection } };
const output = JSON.parse(solc.compile(JSON.stringify(input)));

function fail(message) {
  console.error(message);
  process.exit(1);
}

const messages = output.errors ?? [];
for (const message of messages) console.error(message.formattedMessage);
if (messages.length > 0) fail("the contracts must compile without errors and warnings");

const { storage, types } = output.contracts["src/Validators.sol"].Validators.storageLayout;
function described(variables) {
  return variables.map(({ slot, offset, label, type }) => `${slot} ${offset} ${label} ${types[type].label}`);
}
function compare(name, actual, expected) {
  if (actual.join("\n") !== expected.join("\n")) {
    fail(`the storage layout of ${name} has changed:\n${actual.join("\n")}\nand must be:\n${expected.join("\n")}`);
  }
}
compare("Validators", described(storage), layout);
const member = Object.values(types).find(({ label }) => label === "struct Validators.Member");
compare("Member", described(member.members), memberLayout);

for (const [name, [file, artifact]] of Object.entries(contracts)) {
  const { abi, evm } = output.contracts[file][name];
  const text = `${JSON.stringify(
    { abi, bytecode: `0x${evm.bytecode.object}`, deployedBytecode: `0x${evm.deployedBytecode.object}` },
    null,
    2,
  )}\n`;
  const path = join(here, artifact);
  if (!check) {
    writeFileSync(path, text);
    console.log(`${artifact}: ${evm.deployedBytecode.object.length / 2} bytes of code`);
  } else if (readFileSync(path, "utf8") !== text) {
    fail(`${artifact} is not what ${file} compiles to; run build.sh`);
  }
}
console.log(`${solc.version()}${check ? ": the artifacts are what the sources give" : ""}`);
