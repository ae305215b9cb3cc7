//! Addresses of nodes.

use std::time::Duration;

use url::{Host, Url};

use crate::error::LoadError;

/// A batch without an answer after this time is a transport error.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A checked URL of a node.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub(super) url: Url,
    pub(super) http: reqwest::Client,
}

impl Endpoint {
    /// Parses and checks a URL. Only loopback addresses are accepted unless `allow_remote` is set.
    pub fn new(text: &str, allow_remote: bool) -> Result<Self, LoadError> {
        let endpoint_error = |why: String| LoadError::Endpoint {
            url: text.to_owned(),
            why,
        };
        let url = Url::parse(text).map_err(|error| endpoint_error(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "ws") {
            return Err(endpoint_error(format!(
                "scheme {} is not http or ws (TLS is not supported)",
                url.scheme()
            )));
        }
        let loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => return Err(endpoint_error("it has no host".to_owned())),
        };
        if !loopback && !allow_remote {
            return Err(LoadError::NotLoopback(text.to_owned()));
        }
        // Neither a proxy nor a redirect may send the load to an unchecked host.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(|error| LoadError::Transport(error.to_string()))?;
        Ok(Self { url, http })
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the URL is a WebSocket URL, over which the node can announce blocks.
    pub fn is_web_socket(&self) -> bool {
        self.url.scheme() == "ws"
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;
    use crate::error::LoadError;

    #[test]
    fn only_loopback_unless_allowed() {
        for url in [
            "http://127.0.0.1:8545",
            "ws://[::1]:8545",
            "http://localhost:1",
        ] {
            assert!(Endpoint::new(url, false).is_ok(), "{url}");
        }
        for url in [
            "http://192.0.2.1:8545",
            "ws://example.org",
            "http://127.0.0.1.example.org:8545",
        ] {
            assert!(
                matches!(Endpoint::new(url, false), Err(LoadError::NotLoopback(_))),
                "{url}"
            );
            assert!(Endpoint::new(url, true).is_ok(), "{url}");
        }
        assert!(matches!(
            Endpoint::new("ftp://127.0.0.1", true),
            Err(LoadError::Endpoint { .. })
        ));
    }
}
