//! From a request to a response: batches, methods, limits.

use crate::rpc::{
    context::RpcContext,
    debug, eth, lockweave,
    message::{Body, Call, Reply, Request, RpcError, code, write_error, write_response},
    method::{Cost, Method, catch_panic, record_call},
    subscriptions::Session,
    txpool,
};
use axum::body::Bytes;
use self_cell::self_cell;
use std::{sync::Arc, time::Instant};

fn find(name: &str) -> Option<(Method, Cost)> {
    eth::find(name)
        .or_else(|| lockweave::find(name))
        .or_else(|| debug::find(name))
        .or_else(|| txpool::find(name))
}

/// A batch of at most this many light calls is answered on the thread that read it.
const LIGHT_BATCH_MAX: usize = 16;

self_cell! {
    /// The bytes that a client sent, and the requests parsed from them.
    pub(crate) struct Incoming {
        owner: Bytes,
        #[covariant]
        dependent: Parsed,
    }
}

type Parsed<'a> = Result<Body<'a>, RpcError>;

impl Incoming {
    /// Parses what a client sent.
    pub(crate) fn read(body: Bytes) -> Self {
        Self::new(body, |body| Body::parse(body))
    }

    /// The cost of the most expensive call.
    pub(crate) fn cost(&self) -> Cost {
        let cost_of = |call: &Call<'_>| {
            let method = call.0.as_ref().ok();
            let method = method.and_then(|request| find(&request.method));
            method.map_or(Cost::Light, |(_, cost)| cost)
        };
        match self.borrow_dependent() {
            Ok(Body::Single(call)) => cost_of(call),
            Ok(Body::Batch(calls)) => {
                let dearest = calls.iter().map(cost_of).max().unwrap_or(Cost::Light);
                let long = calls.len() > LIGHT_BATCH_MAX;
                dearest.max(if long { Cost::Heavy } else { Cost::Light })
            }
            Err(_) => Cost::Light,
        }
    }
}

/// Answers every call with this error.
pub(crate) fn refuse(incoming: &Incoming, error: &RpcError) -> String {
    let mut out = String::new();
    let refusal: Reply = Err(error.clone());
    match incoming.borrow_dependent() {
        Ok(Body::Single(call)) => write_response(&mut out, call.id(), &refusal),
        Ok(Body::Batch(calls)) => {
            for (place, call) in calls.iter().enumerate() {
                out.push(if place == 0 { '[' } else { ',' });
                write_response(&mut out, call.id(), &refusal);
            }
            out.push(']');
        }
        Err(_) => write_response(&mut out, None, &refusal),
    }
    out
}

/// Answers what a client sent; `None` if there are only notifications.
pub(crate) fn answer(
    context: &RpcContext,
    incoming: &Incoming,
    session: Option<&Arc<Session>>,
) -> Option<String> {
    let refuse = |error| Some(write_error(error));
    match incoming.borrow_dependent() {
        Err(error) => refuse(error.clone()),
        Ok(Body::Single(call)) => {
            let mut out = String::new();
            answer_one(context, call, session, &mut out);
            (!out.is_empty()).then_some(out)
        }
        Ok(Body::Batch(calls)) if calls.is_empty() => {
            refuse(RpcError::new(code::INVALID_REQUEST, "empty batch"))
        }
        Ok(Body::Batch(calls)) if calls.len() > context.config.batch_calls_max => {
            refuse(RpcError::limit(format!(
                "batch too large: {} calls, at most {} are answered at once",
                calls.len(),
                context.config.batch_calls_max
            )))
        }
        Ok(Body::Batch(calls)) => answer_batch(context, calls, session),
    }
}

fn answer_batch(
    context: &RpcContext,
    calls: &[Call<'_>],
    session: Option<&Arc<Session>>,
) -> Option<String> {
    let mut out = String::from("[");
    let mut at = 0;
    while at < calls.len() {
        if out.len() > 1 && !out.ends_with(',') {
            out.push(',');
        }
        let sent = eth::answer_submissions(context, &calls[at..], &mut out);
        if sent > 0 {
            at += sent;
        } else if out.len() > context.config.response_bytes_max {
            write_response(&mut out, calls[at].id(), &Err(too_large(context)));
            at += 1;
        } else {
            answer_one(context, &calls[at], session, &mut out);
            at += 1;
        }
    }
    if out.ends_with(',') {
        out.pop();
    }
    if out.len() == 1 {
        return None;
    }
    out.push(']');
    Some(out)
}

fn too_large(context: &RpcContext) -> RpcError {
    RpcError::limit(format!(
        "response too large: over {} bytes; ask for less at once",
        context.config.response_bytes_max
    ))
}

/// Answers one request. Writes nothing for a notification.
fn answer_one(
    context: &RpcContext,
    call: &Call<'_>,
    session: Option<&Arc<Session>>,
    out: &mut String,
) {
    let request = match &call.0 {
        Ok(request) => request,
        Err(none) => return write_response(out, call.id(), &Err(none.into())),
    };
    let mut reply = run(context, request, session);
    if let Ok(result) = &reply
        && result.get().len() > context.config.response_bytes_max
    {
        reply = Err(too_large(context));
    }
    if request.id.is_some() {
        write_response(out, request.id, &reply);
    }
}

fn run(context: &RpcContext, request: &Request<'_>, session: Option<&Arc<Session>>) -> Reply {
    let name = &*request.method;
    let started = Instant::now();
    match name {
        "eth_subscribe" | "eth_unsubscribe" => match session {
            Some(session) if name == "eth_subscribe" => {
                session.subscribe(context, &request.params()?)
            }
            Some(session) => session.unsubscribe(&request.params()?),
            None => Err(RpcError::new(
                code::METHOD_NOT_FOUND,
                "notifications not supported: subscribe over WebSocket",
            )),
        },
        _ => match find(name) {
            Some((method, _)) => {
                let reply = catch_panic(|| method(context, &request.params()?));
                record_call(name, started, reply.is_ok());
                reply
            }
            None => Err(unknown_method(name)),
        },
    }
}

fn unknown_method(name: &str) -> RpcError {
    let hint = match name {
        "eth_sendTransaction"
        | "eth_sign"
        | "eth_signTransaction"
        | "eth_signTypedData_v4"
        | "personal_sign"
        | "personal_sendTransaction"
        | "personal_unlockAccount" => {
            ": the node keeps no keys; sign in the client or its wallet, and send with \
             eth_sendRawTransaction"
        }
        _ => "",
    };
    let message = format!("the method {name} does not exist/is not available{hint}");
    RpcError::new(code::METHOD_NOT_FOUND, message)
}
