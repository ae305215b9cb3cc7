//! JSON Schema, as far as the suite's document uses it. What is not known here is refused, so that
//! nothing passes unseen.

use regex::Regex;
use serde_json::{Map, Value};

/// Holds a value against a schema; the error names the place.
pub(crate) fn check(path: &str, schema: &Value, value: &Value) -> Result<(), String> {
    let Some(schema) = schema.as_object() else {
        return Err(format!("{path}: the schema is {schema}"));
    };
    for (keyword, rule) in schema {
        match keyword.as_str() {
            // What is said for readers; and what is looked at with the properties.
            "title"
            | "description"
            | "default"
            | "examples"
            | "format"
            | "additionalProperties" => Ok(()),
            "type" => check_type(path, rule, value),
            "enum" => match rule.as_array() {
                Some(values) if values.contains(value) => Ok(()),
                _ => Err(format!("{path}: {value} is none of {rule}")),
            },
            "const" if rule == value => Ok(()),
            "pattern" => check_pattern(path, rule, value),
            "minimum" => match (rule.as_f64(), value.as_f64()) {
                (Some(least), Some(number)) if number < least => {
                    Err(format!("{path}: {number} is less than {least}"))
                }
                _ => Ok(()),
            },
            "maximum" => match (rule.as_f64(), value.as_f64()) {
                (Some(most), Some(number)) if number > most => {
                    Err(format!("{path}: {number} is more than {most}"))
                }
                _ => Ok(()),
            },
            "minLength" | "maxLength" | "minItems" | "maxItems" => {
                check_length(path, keyword, rule, value)
            }
            "required" => check_required(path, rule, value),
            "properties" => check_properties(path, schema, value),
            "items" => check_items(path, rule, value),
            "allOf" | "anyOf" | "oneOf" => check_choice(path, keyword, rule, value),
            other => Err(format!("{path}: the schema's {other} is not known here")),
        }?;
    }
    let only_additional = !schema.contains_key("properties");
    if only_additional && schema.contains_key("additionalProperties") {
        check_properties(path, schema, value)?;
    }
    Ok(())
}

fn check_type(path: &str, rule: &Value, value: &Value) -> Result<(), String> {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    let right = match rule {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => false,
    };
    if right {
        Ok(())
    } else {
        Err(format!("{path}: {value:.100} is no {rule}"))
    }
}

fn check_pattern(path: &str, rule: &Value, value: &Value) -> Result<(), String> {
    let (Some(pattern), Some(text)) = (rule.as_str(), value.as_str()) else {
        return Ok(());
    };
    let pattern = Regex::new(pattern).map_err(|error| format!("{path}: {error}"))?;
    if pattern.is_match(text) {
        Ok(())
    } else {
        Err(format!("{path}: {text:.100} is not {pattern}"))
    }
}

fn check_length(path: &str, keyword: &str, rule: &Value, value: &Value) -> Result<(), String> {
    let length = match value {
        Value::String(text) if keyword.ends_with("Length") => text.chars().count(),
        Value::Array(items) if keyword.ends_with("Items") => items.len(),
        _ => return Ok(()),
    };
    let bound = rule.as_u64().unwrap_or_default();
    let length = length as u64;
    let right = if keyword.starts_with("min") {
        length >= bound
    } else {
        length <= bound
    };
    if right {
        Ok(())
    } else {
        Err(format!("{path}: {length} is against {keyword} {bound}"))
    }
}

fn check_required(path: &str, rule: &Value, value: &Value) -> Result<(), String> {
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    let mut names = rule
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    match names.find(|name| !object.contains_key(*name)) {
        Some(missing) => Err(format!("{path}: {missing} is missing")),
        None => Ok(()),
    }
}

fn check_properties(path: &str, schema: &Map<String, Value>, value: &Value) -> Result<(), String> {
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, value) in object {
        let path = format!("{path}.{name}");
        let known = properties.and_then(|properties| properties.get(name));
        match (known, schema.get("additionalProperties")) {
            (Some(schema), _) => check(&path, schema, value)?,
            (None, Some(Value::Bool(false))) => return Err(format!("{path} is too much")),
            (None, Some(rule @ Value::Object(_))) => check(&path, rule, value)?,
            (None, _) => {}
        }
    }
    Ok(())
}

fn check_items(path: &str, rule: &Value, value: &Value) -> Result<(), String> {
    let items = value.as_array().into_iter().flatten().enumerate();
    for (index, item) in items {
        check(&format!("{path}[{index}]"), rule, item)?;
    }
    Ok(())
}

fn check_choice(path: &str, keyword: &str, rule: &Value, value: &Value) -> Result<(), String> {
    let rules = rule.as_array().map_or(&[][..], Vec::as_slice);
    let results: Vec<_> = rules.iter().map(|rule| check(path, rule, value)).collect();
    let right = results.iter().filter(|result| result.is_ok()).count();
    let enough = match keyword {
        "allOf" => right == rules.len(),
        "oneOf" => right == 1,
        _ => right > 0,
    };
    if enough {
        return Ok(());
    }
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    Err(format!(
        "{path}: {right} of {keyword}: {}",
        errors.join("; ")
    ))
}
