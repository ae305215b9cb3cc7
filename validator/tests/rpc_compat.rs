//! Ethereum's JSON-RPC suite (execution-apis): a chain through all forks, proof of work first, is
//! imported with `lockweave-validator import`, and a node on it answers recorded requests.
//!
//! Answers are compared as JSON; of an error the code, and its data where there is some. Files marked
//! `speconly` are held against the method's schema in `openrpc.json` instead.
//!
//! The archive is `rpc_compat.tar.zst` in `LOCKWEAVE_FIXTURES`. The last line is the count of files;
//! the lines before it are those of the methods.

#[allow(dead_code)]
#[path = "../../tests/conformance/archive.rs"]
mod archive;
#[allow(dead_code)]
#[path = "validator/support/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../../tests/conformance/report.rs"]
mod report;
mod rpc_files;

use process::{Process, validator};
use report::Report;
use rpc_files::{Exchange, Exchanges, RpcFile, Schemas, listed::LISTED};
use std::{fs::File, path::Path, process::ExitCode};

const SUITE: &str = "rpc_compat";

/// A small suite of the same form, whose chain plain revm ran: for where there is no archive.
const OWN: &str = "tests/own_rpc_compat";

fn main() -> ExitCode {
    let mut report = Report::default();
    if let Some(archive) = archive::find("rpc_compat.tar.zst") {
        if let Err(problem) = run_archive(&archive, &mut report) {
            report.case("suite", archive.display().to_string(), Err(problem), &[]);
        }
    } else {
        println!(
            "no rpc_compat.tar.zst in {}: only the repository's own files are run; set \
             LOCKWEAVE_FIXTURES to the directory that holds the archive",
            archive::directory().display()
        );
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(OWN);
    let data = tempfile::tempdir().map_err(|error| error.to_string());
    if let Err(problem) = data.and_then(|data| run(&own, &data.path().join("data"), &mut report)) {
        report.case("suite", OWN.to_owned(), Err(problem), &[]);
    }
    if report.close(SUITE) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Unpacks the suite and runs it.
fn run_archive(archive: &Path, report: &mut Report) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let folder = tempfile::tempdir().map_err(said)?;
    let decoder = zstd::Decoder::new(File::open(archive).map_err(said)?).map_err(said)?;
    tar::Archive::new(decoder)
        .unpack(folder.path())
        .map_err(said)?;
    let suite = folder.path().join("rpc_compat");
    run(&suite, &folder.path().join("data"), report)
}

/// Imports the chain of a suite, starts a node on it and asks everything.
fn run(suite: &Path, datadir: &Path, report: &mut Report) -> Result<(), String> {
    let tests = suite.join("tests");
    import(&tests, datadir)?;
    let schemas = Schemas::read(&suite.join("openrpc.json"))?;
    let mut command = validator();
    command
        .args(["run", "--http.port", "0", "--produce", "false"])
        .args(["--log.filter", "error", "--datadir"])
        .arg(datadir);
    let node = Process::spawn(&mut command);
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let files = RpcFile::all(&tests)?;
    if files.is_empty() {
        return Err("there are no requests in it".to_owned());
    }
    for RpcFile {
        method,
        name,
        content,
    } in files
    {
        let result = content.and_then(|content| runtime.block_on(ask(&node, &content, &schemas)));
        report.case(&method, name, result, LISTED);
    }
    Ok(())
}

fn import(tests: &Path, datadir: &Path) -> Result<(), String> {
    let output = validator()
        .args(["import", "--datadir"])
        .arg(datadir)
        .arg("--genesis")
        .arg(tests.join("genesis.json"))
        .arg(tests.join("chain.rlp"))
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        return Ok(());
    }
    let problem = String::from_utf8_lossy(&output.stderr);
    Err(format!("the import failed: {problem}"))
}

/// Asks what a file asks and compares the answers.
async fn ask(node: &Process, file: &Exchanges, schemas: &Schemas) -> Result<(), String> {
    for Exchange { request, expected } in &file.exchanges {
        let answer = node.post(request).await.ok_or("the node gives no answer")?;
        if file.schema_only {
            schemas.check(request, &answer, expected)?;
        } else {
            rpc_files::compare(&answer, expected)?;
        }
    }
    Ok(())
}
