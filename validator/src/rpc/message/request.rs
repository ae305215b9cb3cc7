//! JSON-RPC 2.0 messages.

use super::error::{RpcError, code};
use alloy_primitives::B256;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::{RawValue, to_raw_value};
use std::{borrow::Cow, fmt};

/// The result of a method: JSON or an error.
pub(crate) type Reply = Result<Box<RawValue>, RpcError>;

pub(crate) fn reply(value: impl Serialize) -> Reply {
    to_raw_value(&value).map_err(|error| RpcError::internal(error.to_string()))
}

/// A request, borrowed from its text.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The id for the response; `None` for a notification.
    pub(crate) id: Option<&'a RawValue>,
    /// The method's name.
    pub(crate) method: Cow<'a, str>,
    pub(crate) params: Option<&'a RawValue>,
}

/// JSON that is not a request, with its id if that is valid.
#[derive(Debug)]
pub(crate) struct NoRequest<'a>(Option<&'a RawValue>);

/// A request, or JSON in place of one.
#[derive(Debug)]
pub(crate) struct Call<'a>(pub(crate) Result<Request<'a>, NoRequest<'a>>);

impl<'a> Call<'a> {
    /// The id for the response; `None` for a notification, and if there is no valid one.
    pub(crate) fn id(&self) -> Option<&'a RawValue> {
        match &self.0 {
            Ok(request) => request.id,
            Err(NoRequest(id)) => *id,
        }
    }
}

impl From<&NoRequest<'_>> for RpcError {
    fn from(_: &NoRequest<'_>) -> Self {
        Self::new(code::INVALID_REQUEST, "invalid request")
    }
}

/// Accepts any JSON in one pass; only malformed JSON is an error.
impl<'de: 'a, 'a> Deserialize<'de> for Call<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CallVisitor).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    JsonRpc,
    Id,
    Method,
    Params,
    #[serde(other)]
    Other,
}

/// Visits a value that is not a request.
macro_rules! visit_no_request {
    ($($visit:ident($($value:ty)?))*) => {
        $(fn $visit<E>(self, $(_: $value)?) -> Result<Self::Value, E> {
            Ok(Err(NoRequest(None)))
        })*
    };
}

struct CallVisitor;

impl<'de> Visitor<'de> for CallVisitor {
    type Value = Result<Request<'de>, NoRequest<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut version, mut id, mut method, mut params) = (None, None, None, None);
        let mut is_repeated = false;
        while let Some(field) = map.next_key()? {
            let field: &mut Option<&RawValue> = match field {
                Field::JsonRpc => &mut version,
                Field::Id => &mut id,
                Field::Method => &mut method,
                Field::Params => &mut params,
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            is_repeated |= field.replace(map.next_value()?).is_some();
        }
        let id_is_sound = id.is_none_or(is_id);
        let version_is_sound = version.is_none_or(|version| {
            is_null(version) || string(version).is_ok_and(|version| version == "2.0")
        });
        let request = (method.and_then(|method| string(method).ok()))
            .filter(|_| id_is_sound && version_is_sound && !is_repeated);
        Ok(match request {
            Some(method) => Ok(Request {
                id,
                method,
                params: params.filter(|params| !is_null(params)),
            }),
            None => Err(NoRequest(id.filter(|id| is_id(id)))),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err(NoRequest(None)))
    }

    visit_no_request! {
        visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) visit_str(&str) visit_unit()
    }
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// The text of a JSON string; borrowed if it has no escapes.
pub(crate) fn string(value: &RawValue) -> serde_json::Result<Cow<'_, str>> {
    let text = value.get();
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        _ => serde_json::from_str(text).map(Cow::Owned),
    }
}

#[derive(Debug)]
pub(crate) enum Body<'a> {
    Single(Call<'a>),
    Batch(Vec<Call<'a>>),
}

impl<'a> Body<'a> {
    /// Parses a body in one pass; the result borrows from its text.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, RpcError> {
        let parse_error =
            |error: &dyn fmt::Display| RpcError::new(code::PARSE, format!("parse error: {error}"));
        let body = str::from_utf8(body).map_err(|error| parse_error(&error))?;
        let parsed = if body.trim_ascii_start().starts_with('[') {
            serde_json::from_str(body).map(Self::Batch)
        } else {
            serde_json::from_str(body).map(Self::Single)
        };
        parsed.map_err(|error| parse_error(&error))
    }
}

impl<'a> Request<'a> {
    /// The parameters by position.
    pub(crate) fn params(&self) -> Result<Params<'a>, RpcError> {
        let Some(params) = self.params else {
            return Ok(Params::default());
        };
        match params.get().as_bytes().first() {
            Some(b'[') => serde_json::from_str(params.get())
                .map(Params)
                .map_err(|error| RpcError::invalid_params(error.to_string())),
            _ => Err(RpcError::invalid_params(
                "parameters must be given by position, in an array",
            )),
        }
    }
}

/// Ids are strings, numbers or null.
fn is_id(id: &RawValue) -> bool {
    !matches!(id.get().as_bytes().first(), Some(b'{' | b'[' | b't' | b'f'))
}

/// Parameters by position.
#[derive(Debug, Default)]
pub(crate) struct Params<'a>(pub(crate) Vec<&'a RawValue>);

impl<'a> Params<'a> {
    /// The parameter at a position; an error if it is missing or null.
    pub(crate) fn required<T: DeserializeOwned>(
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

    /// The parameter at a position; `None` if it is missing or null.
    pub(crate) fn optional<T: DeserializeOwned>(
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

    /// The hash at a position, which must have the prefix `0x`.
    pub(crate) fn hash(&self, place: usize, name: &'static str) -> Result<B256, RpcError> {
        let is_bare = |raw: &RawValue| !raw.get().starts_with("\"0x");
        if self.raw(place).is_some_and(is_bare) {
            return Err(RpcError::invalid_params(format!(
                "invalid argument {place} ({name}): hex string without 0x prefix"
            )));
        }
        self.required(place, name)
    }

    /// The JSON of the parameter at a position; `None` if it is missing or null.
    pub(crate) fn raw(&self, place: usize) -> Option<&'a RawValue> {
        let raw = self.0.get(place).copied()?;
        (raw.get() != "null").then_some(raw)
    }
}

/// A response to a request that could not be read.
pub(crate) fn write_error(error: RpcError) -> String {
    let mut out = String::new();
    write_response(&mut out, None, &Err(error));
    out
}

/// Appends one response.
pub(crate) fn write_response(out: &mut String, id: Option<&RawValue>, reply: &Reply) {
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

    type Told = (Option<String>, i64);

    fn told(call: Call<'_>) -> Result<String, Told> {
        let id = call.id().map(|id| id.get().to_owned());
        (call.0)
            .map(|request| request.method.into_owned())
            .map_err(|none| (id, RpcError::from(&none).code))
    }

    fn parse(text: &str) -> Result<String, Told> {
        match Body::parse(text.as_bytes()) {
            Ok(Body::Single(call)) => told(call),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_are_told_from_other_json() {
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#),
            Ok("a".into())
        );
        assert_eq!(
            parse(r#" {"id":"x","method":"\u0061","params":null,"more":[{}]} "#),
            Ok("a".into())
        );
        assert_eq!(
            parse(r#"{"jsonrpc":null,"id":null,"method":"a"}"#),
            Ok("a".into())
        );
        let invalid = code::INVALID_REQUEST;
        let none = [
            (r#"{"id":7,"params":[]}"#, Some("7")),
            (r#"{"id":7,"method":5}"#, Some("7")),
            (r#"{"id":7,"method":"a","method":"a"}"#, Some("7")),
            (r#"{"id":{},"method":"a"}"#, None),
            (r#"{"jsonrpc":"1.0","id":2,"method":"a"}"#, Some("2")),
            (r#"{"jsonrpc":2,"id":2,"method":"a"}"#, Some("2")),
            ("5", None),
            ("-5", None),
            ("5.5", None),
            (r#""a""#, None),
            ("null", None),
            ("true", None),
        ];
        for (text, id) in none {
            assert_eq!(parse(text), Err((id.map(str::to_owned), invalid)), "{text}");
        }
    }

    #[test]
    fn what_is_no_request_leaves_a_batch_its_others() {
        let text = r#" [1,[2,[3]],{"foo":"boo"},{"id":1,"method":"a"}]"#;
        let Ok(Body::Batch(calls)) = Body::parse(text.as_bytes()) else {
            panic!("not a batch");
        };
        let methods: Vec<_> = calls.into_iter().map(|call| told(call).ok()).collect();
        assert_eq!(methods, [None, None, None, Some("a".to_owned())]);
    }

    #[test]
    fn what_is_no_json_is_a_parse_error() {
        for text in [
            &b"{"[..],
            b"[1,",
            b"{} {}",
            b"",
            b"\"\xff\"",
            b"[{\"id\":}]",
        ] {
            let error = Body::parse(text).map(|_| ()).unwrap_err();
            assert_eq!(error.code, code::PARSE, "{text:?}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Body::parse(deep.as_bytes()).unwrap_err().code, code::PARSE);
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
