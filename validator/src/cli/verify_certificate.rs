//! `verify-certificate`: a proof of finality, checked with the genesis file alone.

use super::Failure;
use clap::Args;
use lockweave_finality::{FinalBlock, FinalityProof, ValidatorSet};
use lockweave_validator::{
    chain::ChainParameters,
    network::{NetworkError, members::genesis_set},
};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Bytes of a proof as JSON, at most. The longest, with 1,025 headers, has a tenth of it.
const PROOF_BYTES_MAX: u64 = 16 << 20;

/// Check a proof that a block is final, offline.
///
/// A node of a network answers `lockweave_getFinality` with such a proof: the signatures of a quorum of the
/// validators. The genesis file names the validators, so nothing else is trusted.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 the block is final, 1 the proof proves nothing, 2 the input cannot be \
                  read.\n\nExample:\n  curl --silent --header 'content-type: application/json' \\\n    --data \
                  '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lockweave_getFinality\",\"params\":[\"latest\"]}' \
                  \\\n    http://127.0.0.1:8545 | lockweave-validator verify-certificate --genesis genesis.json"
)]
pub(crate) struct VerifyCertificateArgs {
    /// The genesis file of the network.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// The proof as JSON, or a JSON-RPC response with it; `-` reads it from standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    proof: PathBuf,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &VerifyCertificateArgs) -> Result<ExitCode, Failure> {
    let set = read_validators(&args.genesis)?;
    let result = check(&read_proof(&args.proof)?, &set);
    let mut out = io::stdout().lock();
    match &result {
        Ok((block, signers)) if args.json => {
            let outcome = json!({
                "outcome": "right",
                "number": block.number,
                "hash": block.hash,
                "stateRoot": block.state_root,
                "signers": signers,
                "validators": set.count(),
            });
            writeln!(out, "{outcome}")?;
        }
        Ok((block, signers)) => {
            let count = set.count();
            writeln!(out, "right: block {} is final", block.number)?;
            writeln!(out, "hash        {}", block.hash)?;
            writeln!(out, "state root  {}", block.state_root)?;
            writeln!(out, "signatures  {signers} of {count} validators")?;
        }
        Err(problem) if args.json => {
            writeln!(out, "{}", json!({ "outcome": "wrong", "problem": problem }))?;
        }
        Err(problem) => writeln!(out, "wrong: {problem}")?,
    }
    Ok(ExitCode::from(u8::from(result.is_err())))
}

/// The validators that a genesis file names.
fn read_validators(genesis: &Path) -> Result<ValidatorSet, Failure> {
    let path = || genesis.display().to_string();
    let parameters = ChainParameters::read(genesis)?;
    let set = genesis_set(&parameters)?;
    Ok(set.ok_or_else(|| NetworkError::NoValidators { path: path() })?)
}

/// Reads a file or standard input.
fn read_proof(path: &Path) -> Result<String, Failure> {
    let failed = |source| Failure::File {
        path: path.display().to_string(),
        source,
    };
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    let mut text = String::new();
    (input.take(PROOF_BYTES_MAX).read_to_string(&mut text)).map_err(failed)?;
    Ok(text)
}

/// The block that a proof proves final, and the number of signatures; or why it proves nothing.
fn check(text: &str, validators: &ValidatorSet) -> Result<(FinalBlock, usize), String> {
    let mut value: Value =
        serde_json::from_str(text).map_err(|error| format!("the proof is not JSON: {error}"))?;
    if let Some(error) = value.get("error") {
        let message = error["message"].as_str().unwrap_or("an error");
        return Err(format!("the node answered: {message}"));
    }
    if let Some(result) = value.get_mut("result") {
        value = result.take();
    }
    if value.is_null() {
        return Err(
            "the node has no proof: the block is not final yet, or the node does not have its certificate; \
             try again, or ask another node"
                .to_owned(),
        );
    }
    let proof: FinalityProof =
        serde_json::from_value(value).map_err(|error| format!("this is no proof: {error}"))?;
    let block = proof
        .verify(validators)
        .map_err(|error| error.to_string())?;
    Ok((block, proof.certificate.signers.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use lockweave_finality::Network;

    fn problem(text: &str) -> String {
        let mut key = [0; 32];
        key[0] = 1;
        let network = Network {
            id: B256::ZERO,
            epoch_blocks: 10.try_into().unwrap(),
        };
        let set = ValidatorSet::new(network, [key]).unwrap();
        check(text, &set).unwrap_err()
    }

    #[test]
    fn what_is_no_proof_is_said() {
        assert!(problem("no").starts_with("the proof is not JSON"));
        assert!(problem("{}").starts_with("this is no proof"));
        assert!(problem("null").starts_with("the node has no proof"));
        assert!(problem(r#"{"result":null}"#).starts_with("the node has no proof"));
        let error = problem(r#"{"error":{"code":-32000,"message":"the node is alone"}}"#);
        assert_eq!(error, "the node answered: the node is alone");
    }

    #[test]
    fn a_proof_may_be_in_a_response() {
        let proof = r#"{"headers":[],"certificate":{"epoch":0,"view":1,"parentView":0,"blockHash":
            "0x0000000000000000000000000000000000000000000000000000000000000000","signers":[],"signatures":[]}}"#;
        let bare = problem(proof);
        assert_eq!(bare, "the proof has no header; ask for the block again");
        assert_eq!(
            problem(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{proof}}}"#)),
            bare
        );
    }
}
