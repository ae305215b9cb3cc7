//! Scenario files: TOML whose keys are the names of flags.
//!
//! ```toml
//! scenario = "swaps"
//! stages = ["500:10s", "500-2000:30s"]
//! items = 1
//!
//! [mix]            # for `mixed`
//! transfers = 4
//! swaps = 1
//! ```
//!
//! Keys become flags before those of the command line, and the last flag with a name wins.

use std::{ffi::OsString, path::PathBuf};

use lockweave_load_generator::LoadError;
use toml::{Table, Value};

/// Mutually exclusive flags: one of them on the command line disables all of them in the file.
const EXCLUSIVE: [&str; 3] = ["rate", "stages", "in-flight"];

/// Inserts the flags of `--file FILE`, if given, after the subcommand.
pub(super) fn with_scenario_file(arguments: Vec<OsString>) -> Result<Vec<OsString>, LoadError> {
    let Some(path) = file_of(&arguments) else {
        return Ok(arguments);
    };
    let text = std::fs::read_to_string(&path).map_err(|source| LoadError::Read {
        path: path.clone(),
        source,
    })?;
    let error_in_file = |what: String| LoadError::Options(format!("{}: {what}", path.display()));
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| error_in_file(error.to_string()))?;
    let given = |name: &str| {
        let flag = format!("--{name}");
        let mut arguments = arguments.iter().filter_map(|argument| argument.to_str());
        arguments.any(|argument| argument == flag || argument.starts_with(&format!("{flag}=")))
    };
    let paced = EXCLUSIVE.iter().any(|name| given(name));
    let mut from_file = Vec::new();
    for (key, value) in &table {
        let name = key.replace('_', "-");
        // Values of a repeated list flag would be joined, so the file's flag is dropped.
        let overridden = given(&name) || paced && EXCLUSIVE.contains(&name.as_str());
        if name == "file" {
            return Err(error_in_file(
                "a scenario file cannot include another".to_owned(),
            ));
        }
        if !overridden && let Some(flag) = flag(&name, value).map_err(error_in_file)? {
            from_file.push(OsString::from(flag));
        }
    }
    let subcommand_end = arguments.len().min(2);
    let (before, after) = arguments.split_at(subcommand_end);
    Ok([before, &from_file, after].concat())
}

fn file_of(arguments: &[OsString]) -> Option<PathBuf> {
    let position = arguments.iter().position(|argument| {
        argument
            .to_str()
            .is_some_and(|text| text == "--file" || text.starts_with("--file="))
    })?;
    match arguments[position].to_str()?.strip_prefix("--file=") {
        Some(path) => Some(PathBuf::from(path)),
        None => arguments.get(position + 1).map(PathBuf::from),
    }
}

/// `--name=value`, or `None` for `name = false`.
fn flag(name: &str, value: &Value) -> Result<Option<String>, String> {
    Ok(match value {
        Value::Boolean(false) => None,
        Value::Boolean(true) => Some(format!("--{name}")),
        Value::Array(values) => {
            let texts: Result<Vec<_>, _> = values.iter().map(|value| plain(name, value)).collect();
            Some(format!("--{name}={}", texts?.join(",")))
        }
        Value::Table(table) => {
            let pairs = table.iter().map(|(key, value)| {
                let value = plain(key, value)?;
                Ok(format!("{key}={value}"))
            });
            let pairs: Result<Vec<_>, String> = pairs.collect();
            Some(format!("--{name}={}", pairs?.join(",")))
        }
        value => Some(format!("--{name}={}", plain(name, value)?)),
    })
}

fn plain(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        _ => Err(format!("{name} must be a string or a number")),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::with_scenario_file;

    fn texts(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    fn merged(toml: &str, arguments: &[&str]) -> Result<Vec<OsString>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("load.toml");
        std::fs::write(&path, toml).expect("written");
        let mut all = texts(&["loadgen", "run", "--file"]);
        all.push(path.into());
        all.extend(texts(arguments));
        let merged = with_scenario_file(all).map_err(|error| error.to_string())?;
        // Without the program, the subcommand and both words of --file.
        Ok(merged
            .into_iter()
            .skip(2)
            .filter(|one| {
                let text = one.to_string_lossy();
                text != "--file" && !text.ends_with("load.toml")
            })
            .collect())
    }

    #[test]
    fn keys_become_flags() {
        let toml = "scenario = 'swaps'\nzipf = 0.5\nhot_items = 3\nallow-remote = false\nstages = ['1:1s', '1-2:3s']\n[mix]\nerc20 = 2\nswaps = 1\n";
        let mut merged = merged(toml, &[]).expect("sound");
        merged.sort();
        assert_eq!(
            merged,
            texts(&[
                "--hot-items=3",
                "--mix=erc20=2,swaps=1",
                "--scenario=swaps",
                "--stages=1:1s,1-2:3s",
                "--zipf=0.5",
            ])
        );
    }

    #[test]
    fn the_command_line_wins() {
        let toml = "rate = 5\nscenario = 'swaps'\nseed = 3\n";
        let merged = merged(toml, &["--in-flight", "7", "--seed=4"]).expect("sound");
        assert_eq!(
            merged,
            texts(&["--scenario=swaps", "--in-flight", "7", "--seed=4"])
        );
    }

    #[test]
    fn invalid_files_are_rejected() {
        for toml in ["rate = ", "file = 'x'", "seed = [[1]]"] {
            assert!(merged(toml, &[]).is_err(), "{toml}");
        }
        assert!(with_scenario_file(texts(&["l", "run", "--file", "/does/not/exist"])).is_err());
    }
}
