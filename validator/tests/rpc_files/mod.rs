//! Recorded requests and answers, and what an answer is held against.

pub(crate) mod listed;
mod schema;

use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// One request and the answer it is to get.
pub(crate) struct Exchange {
    pub(crate) request: Value,
    pub(crate) expected: Value,
}

/// A file of exchanges.
pub(crate) struct RpcFile {
    /// The method it is about: its folder.
    pub(crate) method: String,
    /// Folder and file.
    pub(crate) name: String,
    /// What is in it, or why it cannot be read.
    pub(crate) content: Result<Exchanges, String>,
}

/// What is in a file.
pub(crate) struct Exchanges {
    pub(crate) exchanges: Vec<Exchange>,
    /// Whether answers are held against the method's schema alone.
    pub(crate) schema_only: bool,
}

impl RpcFile {
    /// All files below a folder, in the order of their names.
    pub(crate) fn all(tests: &Path) -> Result<Vec<Self>, String> {
        let mut files = Vec::new();
        for method in sorted(tests)? {
            let folder = tests.join(&method);
            if !folder.is_dir() {
                continue;
            }
            for file in sorted(&folder)? {
                if Path::new(&file).extension() != Some("io".as_ref()) {
                    continue;
                }
                let text = fs::read_to_string(folder.join(&file));
                let text = text.map_err(|error| error.to_string());
                files.push(Self {
                    name: format!("{method}/{file}"),
                    content: text.and_then(|text| Exchanges::parse(&text)),
                    method: method.clone(),
                });
            }
        }
        Ok(files)
    }
}

impl Exchanges {
    fn parse(text: &str) -> Result<Self, String> {
        let (mut exchanges, mut request, mut schema_only) = (Vec::new(), None, false);
        let json = |text: &str| {
            let value = serde_json::from_str::<Value>(text.trim());
            value.map_err(|error| error.to_string())
        };
        for line in text.lines() {
            if let Some(text) = line.strip_prefix(">>") {
                request = Some(json(text)?);
            } else if let Some(text) = line.strip_prefix("<<") {
                let request = request.take().ok_or("an answer without a request")?;
                let expected = json(text)?;
                exchanges.push(Exchange { request, expected });
            } else if let Some(comment) = line.strip_prefix("//") {
                schema_only |= comment.trim_start().starts_with("speconly:");
            }
        }
        if exchanges.is_empty() {
            return Err("there is no exchange in it".to_owned());
        }
        Ok(Self {
            exchanges,
            schema_only,
        })
    }
}

/// The names in a folder.
fn sorted(folder: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Holds an answer against the recorded one. The text of an error is everyone's own.
pub(crate) fn compare(answer: &Value, expected: &Value) -> Result<(), String> {
    let without_text = |value: &Value| {
        let mut value = value.clone();
        if let Some(error) = value.get_mut("error").and_then(Value::as_object_mut) {
            error.remove("message");
        }
        value
    };
    let (ours, theirs) = (without_text(answer), without_text(expected));
    if ours == theirs {
        return Ok(());
    }
    Err(difference("", &ours, &theirs).unwrap_or_else(|| format!("{answer} is not {expected}")))
}

/// The first place in which two values differ.
fn difference(path: &str, ours: &Value, theirs: &Value) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys = theirs.keys().chain(ours.keys());
            keys.filter(|key| ours.get(*key) != theirs.get(*key))
                .find_map(|key| {
                    let value = |map: &serde_json::Map<String, Value>| {
                        map.get(key)
                            .cloned()
                            .unwrap_or(Value::String("(nothing)".to_owned()))
                    };
                    difference(&format!("{path}.{key}"), &value(ours), &value(theirs))
                })
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            let mut pairs = ours.iter().zip(theirs).enumerate();
            pairs.find_map(|(index, (ours, theirs))| {
                difference(&format!("{path}[{index}]"), ours, theirs)
            })
        }
        _ if ours == theirs => None,
        _ => Some(format!("{path} is {ours:.300}, the file has {theirs:.300}")),
    }
}

/// The schemas of the methods' results.
pub(crate) struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    /// Reads an `OpenRPC` document without references.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let document: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let methods = document["methods"].as_array().ok_or("no methods")?;
        let schema = |method: &Value| {
            let name = method["name"].as_str()?.to_owned();
            Some((name, method["result"]["schema"].clone()))
        };
        Ok(Self(methods.iter().filter_map(schema).collect()))
    }

    /// Holds an answer against the schema of the request's method. Where an error is recorded, an
    /// error it has to be.
    pub(crate) fn check(
        &self,
        request: &Value,
        answer: &Value,
        expected: &Value,
    ) -> Result<(), String> {
        let method = request["method"].as_str().unwrap_or_default();
        if expected.get("error").is_some() {
            let code = answer["error"]["code"].as_i64();
            return code
                .map(drop)
                .ok_or_else(|| format!("{answer} is no error"));
        }
        let result = answer
            .get("result")
            .ok_or_else(|| format!("there is no result: {answer:.300}"))?;
        let schema = self.0.get(method);
        let schema = schema.ok_or_else(|| format!("{method} has no schema"))?;
        schema::check("result", schema, result)
    }
}
