//! JSON-RPC 2.0 messages.

use super::error::{self, RpcError};
use alloy_primitives::B256;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;

/// What a method answers: JSON, or why not.
pub(super) type Reply = Result<Box<RawValue>, RpcError>;

/// A value as a reply.
pub(super) fn reply(value: impl Serialize) -> Reply {
    to_raw_value(&value).map_err(|error| RpcError::internal(error.to_string()))
}

/// A request as it came, borrowed from its text.
#[derive(Debug, Deserialize)]
pub(super) struct Request<'a> {
    /// The version; "2.0" if it is stated.
    #[serde(borrow, default)]
    pub(super) jsonrpc: Option<Cow<'a, str>>,
    /// What the answer has to say; none for a notification.
    #[serde(borrow, default, deserialize_with = "stated")]
    pub(super) id: Option<&'a RawValue>,
    /// The method's name.
    #[serde(borrow)]
    pub(super) method: Cow<'a, str>,
    /// Its parameters.
    #[serde(borrow, default)]
    pub(super) params: Option<&'a RawValue>,
}

/// A value that is there, if only as null: an id of null is not a missing id.
fn stated<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Request<'a> {
    /// Parses one request; on failure the error, and the id if at least that can be told.
    pub(super) fn parse(text: &'a RawValue) -> Result<Self, (Option<&'a RawValue>, RpcError)> {
        let request: Self = serde_json::from_str(text.get()).map_err(|_| {
            #[derive(Deserialize)]
            struct IdOnly<'a> {
                #[serde(borrow, default)]
                id: Option<&'a RawValue>,
            }
            let id = serde_json::from_str::<IdOnly<'a>>(text.get()).ok();
            let id = id.and_then(|only| only.id).filter(|id| is_id(id));
            let invalid = RpcError::new(error::INVALID_REQUEST, "invalid request");
            (id, invalid)
        })?;
        let version = request.jsonrpc.as_deref();
        let id_is_sound = request.id.is_none_or(is_id);
        if version.is_some_and(|version| version != "2.0") || !id_is_sound {
            let invalid = RpcError::new(error::INVALID_REQUEST, "invalid request");
            return Err((request.id.filter(|id| is_id(id)), invalid));
        }
        Ok(request)
    }

    /// The parameters by position.
    pub(super) fn params(&self) -> Result<Params<'a>, RpcError> {
        let Some(params) = self.params else {
            return Ok(Params::default());
        };
        match params.get().as_bytes().first() {
            Some(b'[') => serde_json::from_str(params.get())
                .map(Params)
                .map_err(|error| RpcError::invalid_params(error.to_string())),
            Some(b'n') => Ok(Params::default()),
            _ => Err(RpcError::invalid_params(
                "parameters must be given by position, in an array",
            )),
        }
    }
}

/// Strings, numbers and null may be ids.
fn is_id(id: &RawValue) -> bool {
    !matches!(id.get().as_bytes().first(), Some(b'{' | b'[' | b't' | b'f'))
}

/// Parameters by position.
#[derive(Debug, Default)]
pub(super) struct Params<'a>(pub(super) Vec<&'a RawValue>);

impl<'a> Params<'a> {
    /// The parameter at a place; one that is missing or null is an error.
    pub(super) fn required<T: DeserializeOwned>(
        &self,
        place: usize,
        name: &'static str,
    ) -> Result<T, RpcError> {
        self.optional(place, name)?.ok_or_else(|| {
            RpcError::invalid_params(format!(
                "missing value for required argument {place} ({name})"
            ))
        })
    }

    /// The parameter at a place, if it is there and not null.
    pub(super) fn optional<T: DeserializeOwned>(
        &self,
        place: usize,
        name: &'static str,
    ) -> Result<Option<T>, RpcError> {
        let Some(raw) = self.raw(place) else {
            return Ok(None);
        };
        serde_json::from_str(raw.get()).map(Some).map_err(|error| {
            RpcError::invalid_params(format!("invalid argument {place} ({name}): {error}"))
        })
    }

    /// The hash at a place, which must have its prefix.
    pub(super) fn hash(&self, place: usize, name: &'static str) -> Result<B256, RpcError> {
        let is_bare = |raw: &RawValue| !raw.get().starts_with("\"0x");
        if self.raw(place).is_some_and(is_bare) {
            return Err(RpcError::invalid_params(format!(
                "invalid argument {place} ({name}): hex string without 0x prefix"
            )));
        }
        self.required(place, name)
    }

    /// The JSON of the parameter at a place, if it is there and not null.
    pub(super) fn raw(&self, place: usize) -> Option<&'a RawValue> {
        let raw = self.0.get(place).copied()?;
        (raw.get() != "null").then_some(raw)
    }
}

/// Appends one response.
pub(super) fn write_response(out: &mut String, id: Option<&RawValue>, reply: &Reply) {
    let id = id.map_or("null", RawValue::get);
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    out.push_str(id);
    match reply {
        Ok(result) => {
            out.push_str(r#","result":"#);
            out.push_str(result.get());
        }
        Err(error) => {
            out.push_str(r#","error":"#);
            let error = serde_json::to_string(error);
            out.push_str(&error.expect("an error is made of strings and numbers"));
        }
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, (Option<String>, i64)> {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        Request::parse(raw)
            .map(|request| request.method.into_owned())
            .map_err(|(id, error)| (id.map(|id| id.get().to_owned()), error.code))
    }

    #[test]
    fn requests_are_told_from_other_json() {
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#),
            Ok("a".into())
        );
        assert_eq!(
            parse(r#"{"id":"x","method":"a","params":null}"#),
            Ok("a".into())
        );
        let invalid = error::INVALID_REQUEST;
        assert_eq!(
            parse(r#"{"id":7,"params":[]}"#),
            Err((Some("7".into()), invalid))
        );
        assert_eq!(parse(r#"{"id":{},"method":"a"}"#), Err((None, invalid)));
        assert_eq!(
            parse(r#"{"jsonrpc":"1.0","id":2,"method":"a"}"#),
            Err((Some("2".into()), invalid))
        );
        assert_eq!(parse("5"), Err((None, invalid)));
    }

    #[test]
    fn responses_carry_the_id_as_it_came() {
        let mut out = String::new();
        let id: &RawValue = serde_json::from_str(r#""b""#).unwrap();
        write_response(&mut out, Some(id), &reply(5));
        assert_eq!(out, r#"{"jsonrpc":"2.0","id":"b","result":5}"#);
        out.clear();
        write_response(&mut out, None, &Err(RpcError::new(-1, "no")));
        assert_eq!(
            out,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"no"}}"#
        );
    }
}
